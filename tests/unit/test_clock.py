"""The machine's clock and the ids that it gives."""

from datetime import UTC, datetime

from infra.clock import SystemClock

AT = datetime(2026, 11, 23, 21, 14, 48, 388000, tzinfo=UTC)


def test_time_is_utc_in_whole_milliseconds() -> None:
    now = SystemClock().now()
    assert now.tzinfo is UTC
    assert now.microsecond % 1000 == 0


def test_an_id_is_a_uuid_of_version_7_that_tells_its_time() -> None:
    id = SystemClock().new_id(AT)
    assert (id.version, id.variant) == (7, "specified in RFC 4122")
    assert id.int >> 80 == round(AT.timestamp() * 1000)


def test_ids_of_one_millisecond_differ() -> None:
    clock, other = SystemClock(), SystemClock()
    assert len({which.new_id(AT) for which in (clock, other) for _ in range(2_000)}) == 4_000
