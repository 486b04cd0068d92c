"""Logs: the published labels, queries and alerts. Loki itself is not to be had here: its files are read, not run."""

import re
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from infra.logs import FIELDS
from infra.settings import Settings
from tests.deploy.promql import rules_of
from tests.deploy.tools import MONITORING, ROOT
from tests.published import codes, table

PUBLISHED = {row["Log alert"]: row for row in table("metrics.md", "5. Logs", number=3)}
BUILT = {rule["alert"]: rule for rule in rules_of(MONITORING / "loki-rules.yaml")}
LABELS = {label for row in table("metrics.md", "5. Logs", number=1) for label in codes(row["Loki label"])}
QUERIES = yaml.safe_load((MONITORING / "loki-queries.yaml").read_text(encoding="utf-8"))["dashboard"]["panels"]
CODE = ("api", "consumers", "infra", "projections")
EXPRESSIONS = [
    *(rule["expr"] for rule in BUILT.values()),
    *(query["expr"] for panel in QUERIES for query in panel["queries"]),
]


def read(file: str) -> Any:
    return yaml.safe_load((MONITORING / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("alert", PUBLISHED)
def test_a_log_alert_is_as_published(alert: str) -> None:
    row, rule = PUBLISHED[alert], BUILT[alert]
    assert rule["for"] == row["For"].replace(" ", "")
    assert rule["labels"] == {"severity": row["Severity"], "service": "application-manager-service"}
    threshold = re.search(r"> ([\d.]+)", row["Fires when"])
    assert rule["expr"].endswith(f"> {threshold[1] if threshold else 0}")
    assert "[5m]" in rule["expr"]


def test_there_are_no_others() -> None:
    assert list(BUILT) == list(PUBLISHED)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_query_selects_by_labels_and_filters_by_fields(expression: str) -> None:
    [selector] = re.findall(r"\{([^}]*)\}", expression)
    labels = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", selector))
    assert 'job="application-manager-service"' in selector
    assert labels <= LABELS
    fields = re.findall(r"\| (?!json\b)(\w+)", expression)
    assert set(fields) <= set(FIELDS)
    assert not fields or "| json |" in expression


def test_event_types_that_are_asked_for_are_logged_or_published() -> None:
    code = "".join(path.read_text() for name in CODE for path in (ROOT / name).rglob("*.py"))
    published = str(table("metrics.md", "5. Logs", number=2))
    for expression in EXPRESSIONS:
        for told in re.findall(r'event_type=~?"([^"]*)"', expression):
            for name in told.split("|"):
                assert f'"{name}"' in code or f"`{name}`" in published or name == r"application\\..+", name


def test_promtail_gives_the_published_labels_and_no_others() -> None:
    [scraped] = read("promtail-config.yaml")["scrape_configs"]
    given = {told["target_label"] for told in scraped["relabel_configs"] if "target_label" in told}
    stages = {name: told for stage in scraped["pipeline_stages"] for name, told in stage.items()}
    assert given | set(stages["labels"]) == LABELS
    assert stages["json"]["expressions"].keys() >= stages["labels"].keys()


def test_debug_lines_are_dropped_in_production() -> None:
    [scraped] = read("promtail-config.yaml")["scrape_configs"]
    [dropped] = [stage["match"] for stage in scraped["pipeline_stages"] if "match" in stage]
    assert dropped["action"] == "drop"
    assert dropped["selector"] == '{environment=~"(?i)production", level="DEBUG"}', "the service takes it in any case"
    assert Settings(environment="PRODUCTION", secret_key=SecretStr("k" * 40)).is_production
    names = [name for stage in scraped["pipeline_stages"] for name in stage]
    assert names.index("labels") < names.index("match"), "the selector asks for labels"


def test_promtail_reads_the_roles_of_compose() -> None:
    [scraped] = read("promtail-config.yaml")["scrape_configs"]
    [told] = [told for told in scraped["relabel_configs"] if told.get("action") == "keep"]
    image, roles = told["regex"].split(";")
    labels = [label.removeprefix("__meta_docker_container_label_") for label in told["source_labels"]]
    assert labels == ["org_opencontainers_image_title", "com_docker_compose_service"]
    assert f'org.opencontainers.image.title="{image}"' in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    ours = {name for name, told in services.items() if told["image"] == "application-manager-service"}
    assert set(roles.strip("()").split("|")) == ours


def test_loki_keeps_and_rules_in_places_that_fit_together() -> None:
    told = read("loki-config.yaml")
    assert told["limits_config"]["retention_period"]
    assert told["compactor"]["retention_enabled"] is True
    [schema] = told["schema_config"]["configs"]
    assert (schema["store"], schema["schema"]) == ("tsdb", "v13")
    assert told["ruler"]["storage"]["local"]["directory"] == "/etc/loki/rules"
    assert len(LABELS) <= told["limits_config"]["max_label_names_per_series"]
