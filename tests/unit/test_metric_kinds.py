"""Counters, gauges and histograms as Prometheus reads them."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aioprometheus.collectors import Registry

from infra import metric_kinds
from infra.metric_kinds import Counter, Gauge, Histogram, Role, render

API = (Role.API,)


@pytest.fixture(autouse=True)
def own_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests declare does not stay."""
    monkeypatch.setattr(metric_kinds, "_registries", {role: Registry() for role in Role})


def lines(role: Role = Role.API) -> list[str]:
    return render(role).decode().splitlines()


def test_a_counter_counts_by_its_labels() -> None:
    counter = Counter("seen_total", "Seen", ("kind", "status"), roles=API)
    counter.inc(kind="a", status=200)
    counter.inc(2, status="200", kind="a")
    counter.inc(kind="b", status=404)
    assert lines() == [
        "# HELP seen_total Seen",
        "# TYPE seen_total counter",
        'seen_total{kind="a",status="200"} 3',
        'seen_total{kind="b",status="404"} 1',
    ]
    assert counter.value(kind="a", status=200) == 3
    assert counter.value(kind="c", status=200) == 0


def test_a_counter_without_labels_is_there_from_the_start() -> None:
    Counter("seen_total", "Seen", roles=API)
    assert lines()[-1] == "seen_total 0"


def test_a_gauge_is_not_there_before_it_is_known() -> None:
    gauge = Gauge("open", "Open", roles=API)
    assert lines() == ["# HELP open Open", "# TYPE open gauge"]
    gauge.inc()
    gauge.inc(2)
    gauge.dec()
    assert lines()[-1] == "open 2"
    gauge.set(0.5)
    assert lines()[-1] == "open 0.5"


def test_a_histogram_counts_up_to_each_bound_the_bound_itself_included() -> None:
    histogram = Histogram("took_seconds", "Took", ("kind",), buckets=(0.5, 1), roles=API)
    for value in (0.25, 0.5, 0.75, 2):
        histogram.observe(value, kind="a")
    assert sorted(lines()[2:]) == [
        'took_seconds_bucket{kind="a",le="+Inf"} 4.0',
        'took_seconds_bucket{kind="a",le="0.5"} 2.0',
        'took_seconds_bucket{kind="a",le="1.0"} 3.0',
        'took_seconds_count{kind="a"} 4.0',
        'took_seconds_sum{kind="a"} 3.5',
    ]
    assert histogram.count(kind="a") == 4
    assert histogram.count(kind="b") == 0


@pytest.mark.parametrize("labels", [{}, {"kind": "a"}, {"kind": "a", "status": 1, "more": 2}])
def test_labels_that_were_not_declared_are_a_mistake(labels: dict[str, Any]) -> None:
    counter = Counter("seen_total", "Seen", ("kind", "status"), roles=API)
    with pytest.raises(ValueError, match="seen_total has the labels"):
        counter.inc(**labels)
    with pytest.raises(KeyError):
        counter.inc(kind="a", stauts=1)


def test_a_label_value_cannot_break_the_format() -> None:
    Counter("seen_total", "Seen", ("kind",), roles=API).inc(kind='a"} 1\nevil{b="\\')
    assert lines()[2:] == [r'seen_total{kind="a\"} 1\nevil{b=\"\\"} 1']


def test_each_role_shows_its_own() -> None:
    Counter("one_total", "One", roles=(Role.API, Role.WORKER))
    Counter("two_total", "Two", roles=(Role.WORKER,))
    assert "two_total 0" not in lines(Role.API)
    assert {"one_total 0", "two_total 0"} <= set(lines(Role.WORKER))
    assert lines(Role.RELAY) == []


def test_a_name_is_declared_once() -> None:
    Counter("one_total", "One", roles=API)
    with pytest.raises(ValueError, match="already registered"):
        Gauge("one_total", "One", roles=API)


def test_no_count_is_lost_between_threads() -> None:
    counter = Counter("seen_total", "Seen", ("kind",), roles=API)
    histogram = Histogram("took_seconds", "Took", buckets=(1,), roles=API)

    def count(_: int) -> None:
        for _turn in range(5_000):
            counter.inc(kind="a")
            histogram.observe(0.5)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(count, range(8)))
    assert (counter.value(kind="a"), histogram.count()) == (40_000, 40_000)
