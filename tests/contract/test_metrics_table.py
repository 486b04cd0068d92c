"""The published table of metrics and the declared ones, compared both ways (contract metrics.md 1)."""

import gc
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from infra import metrics, process_metrics
from infra.metric_kinds import Counter, Gauge, Histogram, Metric, Role
from tests.published import codes, table

ROWS = [
    (name, row)
    for section in ("HTTP", "Applications", "Queues and worker", "Database and process")
    for row in table("metrics.md", section)
    for name in codes(row["Name"])
]
PUBLISHED = {name: row for name, row in ROWS if not name.endswith("*")}
KINDS: dict[str, type[Metric]] = {
    "counter": Counter,
    "gauge": Gauge,
    "histogram": Histogram,
    "info (gauge 1)": Gauge,
}


def declared_in(module: Any) -> dict[str, Metric]:
    return {metric.name: metric for _, metric in inspect.getmembers(module, lambda m: isinstance(m, Metric))}


DECLARED = declared_in(metrics)


def test_every_published_metric_is_declared_and_none_besides() -> None:
    assert DECLARED.keys() == PUBLISHED.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_its_kind_and_labels_are_the_published_ones(name: str) -> None:
    row, metric = PUBLISHED[name], DECLARED[name]
    assert type(metric) is KINDS[row["Type"]]
    labels = codes(row["Labels"])
    assert metric.labels == (tuple(labels[0].split(", ")) if labels else ())


@pytest.mark.parametrize("name", [name for name, row in PUBLISHED.items() if row["Type"] == "histogram"])
def test_its_buckets_are_the_published_ones(name: str) -> None:
    metric = DECLARED[name]
    told = re.search(r"Buckets ([\d. ]+)", PUBLISHED[name]["Moves"])
    assert told
    assert isinstance(metric, Histogram)
    assert metric.buckets == tuple(map(float, told[1].split()))


def test_each_says_what_it_means_and_who_serves_it() -> None:
    assert [name for name, metric in DECLARED.items() if not (metric.doc and metric.roles)] == []


def test_no_label_is_a_user() -> None:
    assert not {label for metric in DECLARED.values() for label in metric.labels} & {"user", "user_id"}


@pytest.mark.parametrize("role", Role)
def test_every_role_serves_the_standard_metrics_of_its_process(role: Role) -> None:
    text = metrics.exposition(role).decode()
    assert {name for name, _ in ROWS if name.endswith("*")} == {"process_*", "python_*"}
    for name in declared_in(process_metrics):
        assert re.search(rf"^{name}(\{{.*\}})? [\d.e+]+$", text, re.MULTILINE), name


def test_what_alerts_use_of_the_process_is_true() -> None:
    metrics.exposition(Role.API)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    [kibibytes] = re.findall(r"VmRSS:\s+(\d+) kB", status)
    assert process_metrics.RESIDENT.value() == pytest.approx(int(kibibytes) * 1024, rel=0.1)
    before = process_metrics.CPU.value()
    for _ in range(3):
        gc.collect()
    metrics.exposition(Role.API)
    assert process_metrics.CPU.value() > before > 0


def test_what_runs_here_is_told() -> None:
    metrics.describe_service("svc", "test")
    line = f'service_info{{environment="test",service_name="svc",version="{metrics.package_version()}"}} 1'
    assert line in metrics.exposition(Role.WORKER).decode()
