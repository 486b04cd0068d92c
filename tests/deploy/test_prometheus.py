"""Alerts and recorded series: the published ones, of metrics that exist, firing when they should and only then."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.alert_cases import CASES, JOB, Series, all_of, consumed, latency, requests
from tests.deploy.promql import known, names_in, rules_of
from tests.deploy.test_grafana import OBJECTIVES
from tests.deploy.tools import MONITORING, accepted, promtool, run
from tests.published import codes, table

pytestmark = pytest.mark.timeout(600)  # the first use unpacks Debian's packages

ALERTS = MONITORING / "prometheus-alerts.yaml"
RECORDED = MONITORING / "prometheus-rules.yaml"
PUBLISHED = {row["Alert"]: row for row in table("metrics.md", "3. Alerts")}
BUILT = {rule["alert"]: rule for rule in rules_of(ALERTS)}
MADE_OF_ABSENCE = {"NoApplicationsProcessed", "RoleStuck", "WorkerNotActive"}


def minutes(alert: str) -> int:
    return int(BUILT[alert]["for"].removesuffix("m"))


def test_the_alerts_are_the_published_ones() -> None:
    assert sorted(BUILT) == sorted(PUBLISHED)
    [group] = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    assert group["name"] == "application-manager-service-alerts"


@pytest.mark.parametrize("alert", PUBLISHED)
def test_its_time_and_labels_are_the_published_ones(alert: str) -> None:
    row, rule = PUBLISHED[alert], BUILT[alert]
    assert rule["for"] == row["For"].replace(" ", "")
    severity, *objective = row["Severity"].split(", ")
    labels = {"severity": severity, "service": JOB}
    for told in objective:
        [code] = codes(told)
        labels |= dict([code.split(": ")])
    assert rule["labels"] == labels
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}


def test_promtool_accepts_the_rules() -> None:
    accepted(run(promtool(), "check", "rules", ALERTS, RECORDED))


def test_promtool_accepts_both_configurations(tmp_path: Path) -> None:
    accepted(run(promtool(), "check", "config", MONITORING / "prometheus.yml"))
    told = yaml.safe_load((MONITORING / "prometheus-kubernetes.yml").read_text(encoding="utf-8"))
    for scraped in told["scrape_configs"]:
        scraped["static_configs"] = [{"targets": []} for _ in scraped.pop("kubernetes_sd_configs")]  # not in Debian's
    told["rule_files"] = []
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(told), encoding="utf-8")
    accepted(run(promtool(), "check", "config", tmp_path / "prometheus.yml"))


@pytest.mark.parametrize("file", ["prometheus.yml", "prometheus-kubernetes.yml"])
def test_what_is_scraped_has_the_name_that_the_alerts_ask_for(file: str) -> None:
    told = yaml.safe_load((MONITORING / file).read_text(encoding="utf-8"))
    assert [scraped["job_name"] for scraped in told["scrape_configs"]] == [JOB]
    assert {MONITORING / name for name in told["rule_files"]} == {ALERTS, RECORDED}


@pytest.mark.parametrize("rule", [*rules_of(ALERTS), *rules_of(RECORDED)], ids=lambda rule: next(iter(rule.values())))
def test_it_asks_for_metrics_that_exist(rule: dict[str, Any]) -> None:
    named = names_in(rule["expr"])
    assert named
    assert named <= known(rules_of(RECORDED))


def test_alerts_ask_for_this_service_only_and_need_no_recorded_series() -> None:
    for alert, rule in BUILT.items():
        assert ":" not in "".join(names_in(rule["expr"])), alert
        for selector in re.findall(r"\b[a-z_]+(\{[^}]*\})", rule["expr"]):
            assert f'job="{JOB}"' in selector, alert


# -- firing -----------------------------------------------------------------------------------------------------------


def firing(alert: str, series: Series, at: int, count: int, name: str) -> dict[str, Any]:
    """A test of promtool: how many of the alert fire in that minute."""
    expected = [{"labels": "{}", "value": count}] if count else []
    query = f'count(count by (alertname) (ALERTS{{alertname="{alert}", alertstate="firing"}}))'
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": told, "values": f"{samples}x{at}"} for told, samples in series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": f"{at}m", "exp_samples": expected}],
    }


def elsewhere(series: Series) -> Series:
    return {name.replace(JOB, "another-service"): samples for name, samples in series.items()}


def check(tests: Sequence[dict[str, Any]], folder: Path, rules: Path) -> None:
    told = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": list(tests)}
    (folder / "tests.yaml").write_text(json.dumps(told), encoding="utf-8")
    accepted(run(promtool(), "test", "rules", folder / "tests.yaml"))


def alone(alert: str, folder: Path) -> Path:
    """A file of that rule only: promtool evaluates every rule in every minute."""
    file = folder / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "alone", "rules": [BUILT[alert]]}]}), encoding="utf-8")
    return file


def test_every_alert_has_its_cases() -> None:
    assert list(CASES) == list(BUILT)


@pytest.mark.parametrize("alert", CASES)
def test_it_fires_when_it_should_and_not_before_its_time(alert: str, tmp_path: Path) -> None:
    case = CASES[alert]
    late, early = case.window + minutes(alert) + 2, minutes(alert) - 1
    tests = [firing(alert, told, late, 1, f"fires {number}") for number, told in enumerate(case.fires)]
    tests += [firing(alert, told, early, 0, f"not yet {number}") for number, told in enumerate(case.fires) if early]
    check(tests, tmp_path, alone(alert, tmp_path))


@pytest.mark.parametrize("alert", CASES)
def test_it_stays_quiet_just_short_of_that_and_when_it_is_about_another_service(alert: str, tmp_path: Path) -> None:
    case = CASES[alert]
    late = case.window + minutes(alert) + 2
    tests = [firing(alert, told, late, 0, f"quiet {number}") for number, told in enumerate(case.quiet)]
    if alert not in MADE_OF_ABSENCE:
        tests += [firing(alert, elsewhere(told), late, 0, "another service") for told in case.fires]
    check(tests, tmp_path, alone(alert, tmp_path))


def test_what_is_recorded_is_right(tmp_path: Path) -> None:
    failing, well = requests(990, 10), requests(600)
    only_good = {name: samples for name, samples in well.items() if "500" not in name}

    def recorded(series: Series, **expected: float) -> dict[str, Any]:
        return {
            "interval": "1m",
            "input_series": [{"series": told, "values": f"{samples}x400"} for told, samples in series.items()],
            "promql_expr_test": [
                {
                    "expr": f"round({name.replace('__', ':')}, 0.0001)",
                    "eval_time": "400m",
                    "exp_samples": [{"labels": f'{{job="{JOB}"}}', "value": value}],
                }
                for name, value in expected.items()
            ],
        }

    tests = [
        recorded(
            all_of(failing, CASES["HighLatencyP95"].fires[0]),
            job__http_error_ratio__avg1h=0.01,
            job__http_error_ratio__avg6h=0.01,
            job__http_error_ratio__avg30d=0.01,
            job__http_error_budget_left__ratio30d=-9,
            job__http_latency_seconds__p95=0.5417,
        ),
        recorded(only_good, job__http_error_ratio__avg30d=0, job__http_error_budget_left__ratio30d=1),
        recorded(CASES["QueueProcessingBacklog"].quiet[0], job__queue_success_ratio__rate1h=0.96),
    ]
    check(tests, tmp_path, RECORDED)


# -- objectives -------------------------------------------------------------------------------------------------------


BUSY, IDLE = 60, 340  # minutes
FAST, SLOW = latency(m500=100, m2500=100), latency(m500=50, m2500=90)


def indicated(name: str, series: Series, value: float | None, *, first_idle: bool = False) -> dict[str, Any]:
    """A test of promtool: the indicator after a busy hour and an idle night, or after the night and then the hour."""

    def samples(told: str) -> str:
        step = float(told.removeprefix("0+"))
        end = step * BUSY
        return f"0x{IDLE} {told}x{BUSY}" if first_idle else f"{told}x{BUSY} {end:g}+0x{IDLE}"

    expected = [] if value is None else [{"labels": f'{{job="{JOB}"}}', "value": value}]
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": told, "values": samples(each)} for told, each in series.items()],
        "promql_expr_test": [
            {
                "expr": f"round({OBJECTIVES[name]['indicator']}, 0.01)",
                "eval_time": f"{BUSY + IDLE}m",
                "exp_samples": expected,
            }
        ],
    }


def without(series: Series, status: str) -> Series:
    """While it has not happened once, there is no such series."""
    return {name: samples for name, samples in series.items() if f'"{status}"' not in name}


@pytest.mark.parametrize("first_idle", [False, True])
def test_an_indicator_is_about_the_time_in_which_something_happened(first_idle: bool, tmp_path: Path) -> None:
    told = [
        ("availability", requests(990, 10), 99),
        ("error_budget", requests(990, 10), 1),
        ("latency_p95", FAST, 100),
        ("latency_p95", SLOW, 0),
        ("latency_p99", FAST, 100),
        ("latency_p99", SLOW, 0),
        ("processing_success", consumed(99, 1), 99),
    ]
    check([indicated(*each, first_idle=first_idle) for each in told], tmp_path, RECORDED)


def test_an_indicator_is_zero_when_all_fails_and_not_there_when_nothing_is_asked(tmp_path: Path) -> None:
    tests = [
        indicated("availability", without(requests(0, 10), "200"), 0),
        indicated("error_budget", without(requests(0, 10), "200"), 100),
        indicated("processing_success", without(consumed(0, 10), "success"), 0),
        *(indicated(name, all_of(requests(0), consumed(0, 0), latency_of_none()), None) for name in OBJECTIVES),
    ]
    check(tests, tmp_path, RECORDED)


def latency_of_none() -> Series:
    return dict.fromkeys(FAST, "0+0")
