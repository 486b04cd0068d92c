"""Objectives and dashboards: the published ones, of metrics that exist, in Grafana's own model."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from infra.deploy.monitoring.dashboards import KINDS, SOURCES, made
from tests.deploy.promql import known, names_in, rules_of
from tests.deploy.tools import MONITORING
from tests.published import table

CONFIG = yaml.safe_load((MONITORING / "slo-config.yaml").read_text(encoding="utf-8"))
OBJECTIVES = {told["name"]: told for told in CONFIG["slos"]}
PANELS = {told["title"]: told for told in CONFIG["dashboard"]["panels"]}
RECORDED = rules_of(MONITORING / "prometheus-rules.yaml")
LOG_QUERIES = yaml.safe_load((MONITORING / "loki-queries.yaml").read_text(encoding="utf-8"))["dashboard"]


def test_the_objectives_are_the_published_ones() -> None:
    rows = table("metrics.md", "2. SLOs")
    assert list(OBJECTIVES) == [row["Name"] for row in rows]
    for row in rows:
        told = OBJECTIVES[row["Name"]]
        assert row["Target"].startswith(f"{told['target']:g} %"), row["Name"]
        assert told["window"] == row["Window"].replace(" ", "")
    assert f"{OBJECTIVES['error_budget']['minutes']} min" in rows[-1]["Target"]
    assert "500 ms" in rows[1]["Target"]
    assert OBJECTIVES["latency_p95"]["threshold_seconds"] == 0.5
    assert "2 s" in rows[2]["Target"]
    assert OBJECTIVES["latency_p99"]["threshold_seconds"] == 2


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_is_measured_by_metrics_that_exist(name: str) -> None:
    named = names_in(OBJECTIVES[name]["indicator"])
    assert named
    assert named <= known(RECORDED)


def test_the_panels_are_the_published_ones() -> None:
    rows = table("metrics.md", "4. Grafana")
    assert [(told["title"], told["kind"]) for told in PANELS.values()] == [(row["Panel"], row["Kind"]) for row in rows]
    assert CONFIG["dashboard"]["title"] == "Application Manager - Overview"


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_shows_metrics_that_exist(title: str) -> None:
    for query in PANELS[title]["queries"]:
        assert names_in(query["expr"])
        assert names_in(query["expr"]) <= known(RECORDED)


def test_gauges_change_their_colour_where_it_was_published() -> None:
    shows = {row["Panel"]: row["Shows"] for row in table("metrics.md", "4. Grafana")}
    for title, panel in panels("grafana-dashboard.json"):
        if panel["type"] != "gauge":
            continue
        red, yellow, green = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert [step["color"] for step in (red, yellow, green)] == ["red", "yellow", "green"]
        assert red["value"] is None
        assert f"green from {green['value']}, yellow from {yellow['value']}, else red" in shows[title]


def test_the_burn_rate_shows_where_its_alerts_are() -> None:
    told = dict(panels("grafana-dashboard.json"))["SLO Burn Rate"]["fieldConfig"]["defaults"]
    lines = [step["value"] for step in told["thresholds"]["steps"][1:]]
    alerts = {rule["alert"]: rule["expr"] for rule in rules_of(MONITORING / "prometheus-alerts.yaml")}
    for line, alert in zip(lines, ("SLOErrorBudgetBurnRateHigh", "SLOErrorBudgetBurnRateCritical"), strict=True):
        assert alerts[alert].endswith(f"> {line} * 0.001")
    assert told["custom"]["thresholdsStyle"] == {"mode": "line"}


def test_the_second_dashboard_shows_the_published_log_queries() -> None:
    rows = table("metrics.md", "5. Logs", number=2)
    assert [told["title"] for told in LOG_QUERIES["panels"]] == [row["Ready query"] for row in rows]


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_imported_is_what_is_made(source: str) -> None:
    file, text = made(source)
    assert file.read_text(encoding="utf-8") == text, "make dashboards"


@pytest.mark.parametrize("source", SOURCES)
def test_grafanas_model_takes_every_field(source: str) -> None:
    """Read into it and written again: a field that it does not know is lost, what it reads otherwise differs."""
    plugins.register_default_plugins()
    told = json.loads(made(source)[1])
    again = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(told)))
    assert list(lost(told, again)) == []
    for panel in told["panels"]:
        assert panel["type"] in KINDS.values()


def test_the_check_finds_a_field_that_grafana_does_not_know() -> None:
    told = json.loads(made(SOURCES[0])[1])
    told["panels"][0]["gridPos"]["width"] = 1
    told["panels"][0]["targets"][0]["expression"] = "up"
    again = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(told)))
    assert list(lost(told, again)) == ["/panels/0/gridPos/width", "/panels/0/targets/0/expression"]


def test_panels_do_not_lie_on_each_other() -> None:
    for source in SOURCES:
        places = [panel["gridPos"] for panel in json.loads(made(source)[1])["panels"]]
        assert len({(place["x"], place["y"]) for place in places}) == len(places)
        assert all(place["x"] + place["w"] <= 24 for place in places)


def panels(file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for panel in json.loads((MONITORING / file).read_text(encoding="utf-8"))["panels"]:
        yield panel["title"], panel


def lost(told: Any, again: Any, path: str = "") -> Iterator[str]:
    """The paths of what is not there again as it was told."""
    if isinstance(told, dict) and isinstance(again, dict):
        for key, value in told.items():
            if key in again:
                yield from lost(value, again[key], f"{path}/{key}")
            else:
                yield f"{path}/{key}"
    elif isinstance(told, list) and isinstance(again, list) and len(told) == len(again):
        for number, (one, other) in enumerate(zip(told, again, strict=True)):
            yield from lost(one, other, f"{path}/{number}")
    elif told != again:
        yield path
