"""What is logged, as the lines of a role's log tell it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from infra.logs import Lines


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(Lines("service", "test", json_lines=True, secrets=()))
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(orjson.loads(self.format(record)))


@contextmanager
def logged() -> Iterator[list[dict[str, Any]]]:
    """The lines of INFO and above that are logged meanwhile."""
    root, kept = logging.getLogger(), _Kept()
    level = root.level
    root.addHandler(kept)
    root.setLevel(logging.INFO)
    try:
        yield kept.lines
    finally:
        root.setLevel(level)
        root.removeHandler(kept)
