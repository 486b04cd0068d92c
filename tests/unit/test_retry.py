"""When a failed attempt is tried again (contract messaging.md 3)."""

import pytest

from domain.retry import RESTING_LIMIT_SECONDS, RetryPolicy


def test_the_published_delays() -> None:
    assert [RetryPolicy().delay(n) for n in range(1, 6)] == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_five_retries_are_the_default() -> None:
    assert RetryPolicy().max_retries == 5


def test_a_delay_never_exceeds_the_cap() -> None:
    policy = RetryPolicy(base_delay=0.5, max_delay=3.0)
    assert [policy.delay(n) for n in range(1, 6)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_cap_below_the_first_delay_holds_at_once() -> None:
    assert RetryPolicy(base_delay=5.0, max_delay=2.0).delay(1) == 2.0


@pytest.mark.parametrize("retry", [65, 1_000, 1_000_000])
def test_a_delay_far_out_is_the_cap(retry: int) -> None:
    assert RetryPolicy().delay(retry) == 16.0


def test_no_delay_stays_none() -> None:
    assert RetryPolicy(base_delay=0.0).delay(1_000) == 0.0


def test_a_job_waits_fifteen_minutes_for_its_portal() -> None:
    assert RESTING_LIMIT_SECONDS == 900
