"""Transient errors, work that is given back, portals that rest (contract messaging.md 3, portals.md 2)."""

from datetime import timedelta

import pytest

from domain.application import Unfinished
from domain.application_events import Brief, Failure, JobFailed, JobWait, RetryScheduled, Status
from domain.retry import RetryPolicy
from tests.builders import CV, ApplicationStory
from tests.given import Given
from tests.stories import ATTEMPTED, NOW, POLICY, STARTED, TWO_STARTED


def busy(position: int = 1, wait: float = 0.0) -> Unfinished:
    """Its portal did not take it: that costs an attempt."""
    return Unfinished(position, "503 Service Unavailable", "PortalBusyError", wait=wait)


def resting(position: int = 1, wait: float = 0.0) -> Unfinished:
    """Its portal rests: that costs none."""
    return Unfinished(position, "blind rests", "PortalRestingError", counted=False, wait=wait, rests=True)


def given_back(position: int = 1) -> Unfinished:
    return Unfinished(position, "The worker stops", "CancelledError", counted=False)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


# -- pause: transient errors ------------------------------------------------------------------------------------------


def test_a_job_that_was_not_taken_is_tried_again_later() -> None:
    Given(*ATTEMPTED).when(lambda a: a.pause(1, [busy()], NOW, POLICY)).then(
        RetryScheduled(
            start=1,
            retry=1,
            counted=True,
            due_at=NOW + seconds(1),
            waiting=(JobWait(position=1, reason="503 Service Unavailable", error_type="PortalBusyError"),),
            brief=Brief(cv_id=CV.id, style="modern"),
        )
    )


def test_each_retry_waits_twice_as_long() -> None:
    story, policy, delays = ATTEMPTED, RetryPolicy(), []
    for start in range(1, 6):
        [event] = story.application.pause(start, [busy()], NOW, policy)
        assert isinstance(event, RetryScheduled)
        delays.append((event.retry, event.due_at - NOW))
        story = story.then(event).started().attempted()
    assert delays == [(1, seconds(1)), (2, seconds(2)), (3, seconds(4)), (4, seconds(8)), (5, seconds(16))]


def test_the_status_stays_processing_between_attempts() -> None:
    assert ATTEMPTED.retry_scheduled().application.status is Status.PROCESSING


def test_several_jobs_wait_for_the_longest_delay_among_them() -> None:
    story = TWO_STARTED.attempted(1, 2)
    [event] = story.application.pause(1, [busy(1, wait=7.25), busy(2)], NOW, POLICY)
    assert isinstance(event, RetryScheduled)
    assert event.due_at == NOW + seconds(7.25)
    assert [wait.position for wait in event.waiting] == [1, 2]


def test_a_portal_that_asks_for_less_than_the_delay_waits_for_the_delay() -> None:
    [event] = ATTEMPTED.application.pause(1, [busy(wait=0.2)], NOW, POLICY)
    assert isinstance(event, RetryScheduled)
    assert event.due_at == NOW + seconds(1)


def test_only_jobs_that_are_open_wait() -> None:
    story = TWO_STARTED.attempted(1, 2).applied(2)
    [event] = story.application.pause(1, [busy(1), busy(2)], NOW, POLICY)
    assert isinstance(event, RetryScheduled)
    assert [wait.position for wait in event.waiting] == [1]


def exhausted(story: ApplicationStory = ATTEMPTED) -> ApplicationStory:
    """All retries are used, and the last attempt has begun."""
    for _ in range(POLICY.max_retries):
        story = story.retry_scheduled().started().attempted()
    return story


def test_after_the_last_retry_it_fails() -> None:
    story = exhausted()
    Given(*story).when(lambda a: a.pause(3, [busy()], NOW, POLICY)).then_history(
        *story.exhausted(1, "503 Service Unavailable", "PortalBusyError").failed(attempts=3)
    )


def test_without_retries_the_first_transient_error_is_the_last() -> None:
    Given(*ATTEMPTED).when(lambda a: a.pause(1, [busy()], NOW, RetryPolicy(max_retries=0))).then_history(
        *ATTEMPTED.exhausted().failed(attempts=1)
    )


def test_all_that_wait_fail_with_the_last_retry() -> None:
    story = exhausted(TWO_STARTED.attempted(1, 2))
    Given(*story).when(lambda a: a.pause(3, [busy(1), busy(2)], NOW, POLICY)).then_history(
        *story.exhausted(1).exhausted(2).failed(attempts=3)
    )


def test_retries_are_counted_by_application_not_by_job() -> None:
    story = TWO_STARTED.attempted(1).retry_scheduled(1).started().attempted(2).retry_scheduled(2).started()
    Given(*story).when(lambda a: a.pause(3, [busy(1), busy(2)], NOW, POLICY)).then_history(
        *story.exhausted(1).exhausted(2).failed(attempts=3)
    )


def test_a_persons_retry_gives_fresh_attempts() -> None:
    story = exhausted().exhausted().failed().retried().started().attempted()
    [event] = story.application.pause(4, [busy()], NOW, POLICY)
    assert isinstance(event, RetryScheduled)
    assert (event.retry, event.due_at) == (1, NOW + seconds(1))


def test_a_due_time_is_in_whole_milliseconds() -> None:
    [event] = ATTEMPTED.application.pause(1, [busy(wait=1.2345678)], NOW, POLICY)
    assert isinstance(event, RetryScheduled)
    assert event.due_at == NOW + timedelta(milliseconds=1235)


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(ATTEMPTED.started(), id="of an earlier start"),
        pytest.param(ATTEMPTED.retry_scheduled(), id="scheduled already"),
        pytest.param(ATTEMPTED.applied().succeeded(), id="applied meanwhile"),
        pytest.param(ATTEMPTED.refused().failed(), id="failed"),
        pytest.param(ATTEMPTED.refused().failed().retried(), id="retried"),
        pytest.param(ATTEMPTED.refused().failed().retried().cancelled(), id="cancelled"),
    ],
)
def test_a_start_that_is_over_schedules_nothing(story: ApplicationStory) -> None:
    Given(*story).when(lambda a: a.pause(1, [busy()], NOW, POLICY)).then()


def test_nothing_unfinished_schedules_nothing() -> None:
    Given(*ATTEMPTED).when(lambda a: a.pause(1, [], NOW, POLICY)).then()


def test_what_queues_it_again_is_told_by_its_version() -> None:
    waiting = ATTEMPTED.retry_scheduled()
    assert waiting.application.queued_version == len(waiting.events)
    assert waiting.started().attempted().application.queued_version == len(waiting.events)
    assert waiting.requeued().application.queued_version == len(waiting.events) + 1
    retried = ATTEMPTED.refused().failed().retried()
    assert retried.application.queued_version == len(retried.events)


# -- pause: given back ------------------------------------------------------------------------------------------------


def test_what_is_given_back_costs_no_attempt_and_is_due_at_once() -> None:
    [event] = ATTEMPTED.application.pause(1, [given_back()], NOW, POLICY)
    assert isinstance(event, RetryScheduled)
    assert (event.counted, event.retry, event.due_at) == (False, 1, NOW)


def test_what_is_given_back_is_tried_again_however_often() -> None:
    story = exhausted()
    for start in range(3, 13):
        [event] = story.application.pause(start, [given_back()], NOW, POLICY)
        assert isinstance(event, RetryScheduled)
        assert (event.counted, event.retry) == (False, POLICY.max_retries + 1)
        story = story.then(event).started()
    assert story.application.retries_used == POLICY.max_retries


def test_one_job_given_back_beside_one_not_taken_costs_an_attempt() -> None:
    story = TWO_STARTED.attempted(1, 2)
    [event] = story.application.pause(1, [busy(1), given_back(2)], NOW, POLICY)
    assert isinstance(event, RetryScheduled)
    assert event.counted


def test_what_is_given_back_does_not_fail_with_what_is_exhausted() -> None:
    story = exhausted(TWO_STARTED.attempted(1, 2))
    ended_one = story.exhausted(1)
    Given(*story).when(lambda a: a.pause(3, [busy(1), given_back(2)], NOW, POLICY)).then_history(
        *ended_one.given_back(2, due_at=NOW)
    )


# -- pause: a resting portal (contract portals.md 2) ------------------------------------------------------------------


def test_a_resting_portal_costs_no_attempt_and_is_waited_for() -> None:
    [event] = STARTED.application.pause(1, [resting(wait=8)], NOW, POLICY)
    assert isinstance(event, RetryScheduled)
    assert (event.counted, event.due_at) == (False, NOW + seconds(8))
    assert event.waiting[0].resting_since == NOW


def rests_since_now() -> ApplicationStory:
    return STARTED.retry_scheduled(1, counted=False, resting_since=NOW).started()


def test_a_rest_goes_on_from_when_it_began() -> None:
    [event] = rests_since_now().application.pause(2, [resting()], NOW + seconds(899), POLICY)
    assert isinstance(event, RetryScheduled)
    assert event.waiting[0].resting_since == NOW


def test_a_job_that_has_waited_fifteen_minutes_for_its_portal_fails_like_an_exhausted_one() -> None:
    story = rests_since_now()
    Given(*story).when(lambda a: a.pause(2, [resting()], NOW + seconds(900), POLICY)).then_history(
        *story.exhausted(1, "blind rests", "PortalRestingError").failed(attempts=1)
    )


def test_only_the_job_that_has_waited_so_long_fails() -> None:
    story = TWO_STARTED.retry_scheduled(1, counted=False, resting_since=NOW).started().attempted(2)
    later = NOW + seconds(900)
    [failed, event] = story.application.pause(2, [resting(1), busy(2)], later, POLICY)
    assert isinstance(failed, JobFailed)
    assert failed.position == 1
    assert isinstance(event, RetryScheduled)
    assert [wait.position for wait in event.waiting] == [2]
    assert event.counted


@pytest.mark.parametrize("after", [busy(), given_back()], ids=["not taken", "given back"])
def test_a_rest_that_is_over_fails_nothing(after: Unfinished) -> None:
    [event] = rests_since_now().application.pause(2, [after], NOW + seconds(900), POLICY)
    assert isinstance(event, RetryScheduled)
    assert event.waiting[0].resting_since is None


def test_one_try_between_two_rests_begins_the_fifteen_minutes_anew() -> None:
    story = rests_since_now().attempted().retry_scheduled(1).started()
    [event] = story.application.pause(3, [resting()], NOW + seconds(900), POLICY)
    assert isinstance(event, RetryScheduled)
    assert event.waiting[0].resting_since == NOW + seconds(900)


def test_a_job_whose_portal_rests_outlives_the_last_attempt_of_another() -> None:
    story = exhausted(TWO_STARTED.attempted(1))
    [failed, event] = story.application.pause(3, [busy(1), resting(2, wait=4)], NOW, POLICY)
    assert isinstance(failed, JobFailed)
    assert (failed.position, failed.failure) == (1, Failure.EXHAUSTED)
    assert isinstance(event, RetryScheduled)
    assert (event.counted, [wait.position for wait in event.waiting]) == (False, [2])
