"""Makes the dashboards that Grafana imports, from slo-config.yaml and loki-queries.yaml beside this file.

`python -m infra.deploy.monitoring.dashboards` (`make dashboards`) writes them; the files in the repository are what it
makes, and a test says so. The model is Grafana's schema 39 (Grafana 10 and 11); which data source answers is a variable
of the dashboard, so it can be imported anywhere.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
SOURCES = ("slo-config.yaml", "loki-queries.yaml")
SCHEMA_VERSION = 39
WIDTH, HEIGHT, COLUMNS = 12, 8, 2  # of a panel, in Grafana's grid of 24 columns
KINDS = {"graph": "timeseries", "counter": "stat", "gauge": "gauge", "logs": "logs"}

Json = dict[str, Any]


def made(source: str) -> tuple[Path, str]:
    """The file to write, and its text."""
    told = yaml.safe_load((FOLDER / source).read_text(encoding="utf-8"))["dashboard"]
    return FOLDER / told["file"], json.dumps(dashboard(told), indent=2, ensure_ascii=False) + "\n"


def dashboard(told: Mapping[str, Any]) -> Json:
    return {
        "uid": told["uid"],
        "title": told["title"],
        "tags": ["application-manager-service"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [*_variables(told["datasource"], told.get("variables", ()))]},
        "panels": [_panel(panel, told["datasource"], number) for number, panel in enumerate(told["panels"])],
    }


def _variables(datasource: str, texts: Iterable[str]) -> Iterable[Json]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": datasource}
    for name in texts:
        yield {"name": name, "label": name, "type": "textbox", "query": ""}


def _panel(told: Mapping[str, Any], datasource: str, number: int) -> Json:
    source = {"type": datasource, "uid": "${datasource}"}
    panel: Json = {
        "id": number + 1,
        "title": told["title"],
        "description": told["description"],
        "type": KINDS[told["kind"]],
        "datasource": source,
        "gridPos": {
            "x": WIDTH * (number % COLUMNS),
            "y": HEIGHT * (number // COLUMNS),
            "w": WIDTH,
            "h": HEIGHT,
        },
        "targets": [
            {"refId": reference, "datasource": source, "expr": query["expr"], **_legend(query)}
            for reference, query in zip("ABCDEFGH", told["queries"], strict=False)
        ],
    }
    if told["kind"] == "logs":
        panel["options"] = {"showTime": True, "wrapLogMessage": True, "sortOrder": "Descending"}
    else:
        panel["fieldConfig"] = {"defaults": _defaults(told), "overrides": []}
    if told["kind"] in {"counter", "gauge"}:
        panel["options"] = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    return panel


def _legend(query: Mapping[str, Any]) -> Json:
    return {"legendFormat": query["legend"]} if "legend" in query else {}


def _defaults(told: Mapping[str, Any]) -> Json:
    defaults: Json = {"unit": told["unit"], **{bound: told[bound] for bound in ("min", "max") if bound in told}}
    if told["kind"] == "gauge":
        defaults["thresholds"] = _steps(["red", "yellow", "green"], [told["yellow_from"], told["green_from"]])
    if lines := told.get("lines"):
        defaults["thresholds"] = _steps(["green", "yellow", "red"], lines)
        defaults["custom"] = {"thresholdsStyle": {"mode": "line"}}
    return defaults


def _steps(colors: Sequence[str], bounds: Sequence[float]) -> Json:
    steps = zip(colors, [None, *bounds], strict=True)
    return {"mode": "absolute", "steps": [{"color": color, "value": bound} for color, bound in steps]}


def main() -> int:
    for source in SOURCES:
        file, text = made(source)
        file.write_text(text, encoding="utf-8")
        print(file.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
