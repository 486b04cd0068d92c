"""What client commands print, and how they take what no service should answer (contract cli.md 3)."""

from typing import Any

import pytest

from api.cli.client.health import READY, _parts
from api.cli.client.metrics import _samples
from api.cli.client.output import plain, shortened, when


@pytest.mark.parametrize(
    ("timestamp", "shown"),
    [
        ("2026-11-23T21:14:48.388000Z", "2026-11-23 21:14:48"),
        ("2026-11-23T21:14:48Z", "2026-11-23 21:14:48"),
        ("2026-11-23T21:14:48.1Z", "2026-11-23 21:14:48"),
        ("2026-11-23T23:14:48+02:00", "2026-11-23 21:14:48"),
        ("2026-11-23T21:14:48", "2026-11-23 21:14:48"),
        ("some\x1b[31m day", "some [31m day"),
        (None, "-"),
    ],
)
def test_a_time_is_shown_in_utc(timestamp: str | None, shown: str) -> None:
    assert when(timestamp) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ("", "-"),
        (3, "3"),
        ("Bäckerei 面包师 🥐", "Bäckerei 面包师 🥐"),
        ("\x1b[2J\x07\x9b31m", " [2J  31m"),
        ("two\r\nlines\u2028more", "two  lines more"),
        ("\u202efdp", " fdp"),
        ("\ud800", " "),
    ],
)
def test_what_comes_from_elsewhere_does_nothing_but_be_read(value: object, shown: str) -> None:
    assert plain(value) == shown


def test_a_long_text_is_cut_with_a_sign() -> None:
    assert shortened("x" * 40, 40) == "x" * 40
    assert shortened("x" * 41, 40) == "x" * 39 + "…"


def test_a_sample_is_read_with_its_labels_and_without_its_time() -> None:
    text = '# HELP a_total Words {x}\na_total{l="a} \\" b",m="c"} 1.5e3 1700000000000\nb 2\nbroken\n\nc{} NaN\n'
    read: list[Any] = [(one.name, one.labels, one.value) for one in _samples(text)]
    assert read == [("a_total", '{l="a} \\" b",m="c"}', "1.5e3"), ("b", "", "2"), ("c", "{}", "NaN")]


def test_liveness_has_no_dependencies() -> None:
    assert len(list(_parts(READY, {"status": "ready", "timestamp": None}))) == 1
