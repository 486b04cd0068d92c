"""Which metrics an expression of PromQL asks for."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from infra import metrics, process_metrics
from infra.metric_kinds import Histogram, Metric

WORDS = {"and", "bool", "by", "on", "or", "without"}
FUNCTIONS = {"absent", "avg_over_time", "clamp_min", "histogram_quantile", "increase", "max", "rate", "sum", "time"}
FUNCTIONS |= {"vector"}
PARTS = ("_bucket", "_count", "_sum")  # of a histogram
MADE_BY_PROMETHEUS = {"up"}


def rules_of(file: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def names_in(expression: str) -> set[str]:
    """Metrics and recorded series, without the part of a histogram that is meant."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|on|without)\s*\([^)]*\)', " ", expression)
    words = set(re.findall(r"(?<![\w.])[a-zA-Z_][\w:]*", bare)) - WORDS - FUNCTIONS
    return {_base(word) for word in words}


def known(recorded: Iterable[dict[str, Any]]) -> set[str]:
    return declared().keys() | {rule["record"] for rule in recorded} | MADE_BY_PROMETHEUS


def declared() -> dict[str, Metric]:
    found = [vars(module).values() for module in (metrics, process_metrics)]
    return {value.name: value for values in found for value in values if isinstance(value, Metric)}


def _base(word: str) -> str:
    for part in PARTS:
        if word.endswith(part) and isinstance(declared().get(word.removesuffix(part)), Histogram):
            return word.removesuffix(part)
    return word
