"""Counters, gauges and histograms that are cheap to move, rendered by aioprometheus.

aioprometheus keys each value by a JSON text of its labels (4 to 5 us a count) and writes label values unescaped. So
these keep their own values, by the tuple of label values in declared order (1 to 2 us), and its collectors ask for them
when a role's metrics are rendered. They may be moved from any thread.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from enum import StrEnum
from itertools import accumulate
from threading import Lock
from typing import Any, ClassVar

from aioprometheus import collectors
from aioprometheus.formats.text import TextFormatter

LabelValue = str | int
Key = tuple[str, ...]
Sample = tuple[dict[str, str], Any]


class Role(StrEnum):
    """The processes that serve metrics."""

    API = "api"
    WORKER = "worker"
    RELAY = "relay"
    PROJECTOR = "projector"


EVERY_ROLE = tuple(Role)
_registries = {role: collectors.Registry() for role in Role}


def render(role: Role) -> bytes:
    """What a role serves, in the text format 0.0.4."""
    return TextFormatter().marshall(_registries[role])


# -- how a metric gets into a registry --------------------------------------------------------------------------------


class _Rendered(collectors.Collector):
    """Asks its metric for the values."""

    def __init__(self, metric: "Metric") -> None:
        super().__init__(metric.name, metric.doc, registry=_registries[metric.roles[0]])
        for role in metric.roles[1:]:
            _registries[role].register(self)
        self._metric = metric

    def get_all(self) -> list[Sample]:
        return self._metric.samples()


class _RenderedCounter(_Rendered, collectors.Counter): ...


class _RenderedGauge(_Rendered, collectors.Gauge): ...


class _RenderedHistogram(_Rendered, collectors.Histogram): ...


# -- the metrics ------------------------------------------------------------------------------------------------------


class Metric(ABC):
    """What the three kinds share: a name, labels in declared order, the roles that serve it, a lock."""

    rendered: ClassVar[type[_Rendered]]

    def __init__(self, name: str, doc: str, labels: Sequence[str] = (), *, roles: Sequence[Role]) -> None:
        self.name, self.doc, self.labels, self.roles = name, doc, tuple(labels), tuple(roles)
        self._lock = Lock()
        self.rendered(self)

    @abstractmethod
    def samples(self) -> list[Sample]:
        """Labels and value of each; of a histogram, the value of each series."""

    def _key(self, labels: dict[str, LabelValue]) -> Key:
        if len(labels) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, not {tuple(labels)}")
        return tuple([str(labels[name]) for name in self.labels])

    def _named(self, key: Key) -> dict[str, str]:
        return {name: _escaped(value) for name, value in zip(self.labels, key, strict=True)}


class _Numbers(Metric):
    """One number for each set of label values."""

    def __init__(self, name: str, doc: str, labels: Sequence[str] = (), *, roles: Sequence[Role]) -> None:
        self._numbers: dict[Key, float] = {}
        super().__init__(name, doc, labels, roles=roles)

    def set(self, value: float, /, **labels: LabelValue) -> None:
        """To a number that is known from elsewhere."""
        key = self._key(labels)
        with self._lock:
            self._numbers[key] = value

    def inc(self, by: float = 1, /, **labels: LabelValue) -> None:
        key = self._key(labels)
        with self._lock:
            self._numbers[key] = self._numbers.get(key, 0) + by

    def value(self, **labels: LabelValue) -> float:
        """0 for what was never moved."""
        return self._numbers.get(self._key(labels), 0)

    def samples(self) -> list[Sample]:
        with self._lock:
            return [(self._named(key), number) for key, number in self._numbers.items()]


class Counter(_Numbers):
    """Goes up only. Without labels it is there from the start, at 0."""

    rendered = _RenderedCounter

    def __init__(self, name: str, doc: str, labels: Sequence[str] = (), *, roles: Sequence[Role]) -> None:
        super().__init__(name, doc, labels, roles=roles)
        if not labels:
            self.set(0)


class Gauge(_Numbers):
    """Goes up and down. Not there before it is first moved."""

    rendered = _RenderedGauge

    def dec(self, by: float = 1, /, **labels: LabelValue) -> None:
        self.inc(-by, **labels)


class Histogram(Metric):
    """Counts of observations up to each bound, their number and their sum."""

    rendered = _RenderedHistogram

    def __init__(
        self, name: str, doc: str, labels: Sequence[str] = (), *, buckets: Sequence[float], roles: Sequence[Role]
    ) -> None:
        self.buckets = tuple(map(float, buckets))
        self._counts: dict[Key, list[int]] = {}
        self._sums: dict[Key, float] = {}
        super().__init__(name, doc, labels, roles=roles)

    def observe(self, value: float, /, **labels: LabelValue) -> None:
        key = self._key(labels)
        bucket = bisect_left(self.buckets, value)
        with self._lock:
            counts = self._counts.get(key)
            if counts is None:
                counts = self._counts[key] = [0] * (len(self.buckets) + 1)
            counts[bucket] += 1
            self._sums[key] = self._sums.get(key, 0.0) + value

    def count(self, **labels: LabelValue) -> int:
        """How many observations there were."""
        return sum(self._counts.get(self._key(labels), []))

    def samples(self) -> list[Sample]:
        with self._lock:
            observed = [(key, list(counts), self._sums[key]) for key, counts in self._counts.items()]
        return [(self._named(key), self._series(counts, total)) for key, counts, total in observed]

    def _series(self, counts: Sequence[int], total: float) -> dict[float | str, float]:
        bounds = (*self.buckets, math.inf)
        return {**dict(zip(bounds, accumulate(counts), strict=True)), "count": sum(counts), "sum": total}


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
