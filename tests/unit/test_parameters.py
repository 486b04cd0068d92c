"""What the texts of query parameters mean (contract http.md 1.1)."""

from datetime import UTC, datetime

import pytest

from api.parameters import Query, parse_datetime, parse_query


class Some(Query):
    name: str | None = None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2025-02-27", datetime(2025, 2, 27, tzinfo=UTC)),
        (" 2025-02-27 ", datetime(2025, 2, 27, tzinfo=UTC)),
        ("2025-02-27T10:00:00", datetime(2025, 2, 27, 10, tzinfo=UTC)),
        ("2025-02-27 10:00", datetime(2025, 2, 27, 10, tzinfo=UTC)),
        ("2025-02-27T10", datetime(2025, 2, 27, 10, tzinfo=UTC)),
        ("2025-02-27T10:00:00Z", datetime(2025, 2, 27, 10, tzinfo=UTC)),
        ("2025-02-27t10:00:00z", datetime(2025, 2, 27, 10, tzinfo=UTC)),
        ("20250227T100000Z", datetime(2025, 2, 27, 10, tzinfo=UTC)),
        ("2025-02-27T10:00:00.5+02:00", datetime(2025, 2, 27, 8, 0, 0, 500_000, tzinfo=UTC)),
        ("2025-02-27T10:00:00-0530", datetime(2025, 2, 27, 15, 30, tzinfo=UTC)),
        ("2025-02-27T10:00:00 02:00", datetime(2025, 2, 27, 8, tzinfo=UTC)),
        ("2025-02-27 10:00:00 02:00", datetime(2025, 2, 27, 8, tzinfo=UTC)),
    ],
)
def test_dates_and_datetimes(text: str, meant: datetime) -> None:
    assert parse_datetime(text) == meant
    assert parse_datetime(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    ["", "x", "2025", "2025-02", "2025-W09-4", "2025-02-30", "10:00", "2025-02-27T24:01", "2025-02-27T10:00+99:00"],
)
def test_what_is_neither(text: str) -> None:
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        parse_datetime(text)


def test_what_is_empty_or_unknown_was_not_sent() -> None:
    assert parse_query(Some, {"name": "", "other": "x"}) == Some()
    assert parse_query(Some, {"name": "x"}) == Some(name="x")
