"""Starts and attempts: the fence, dead workers, what may be sent (design 7, contract portals.md 1)."""

import pytest

from domain.application_events import ApplicationFailed, Delivery, Failure, JobFailed, ProcessingStarted, Status
from domain.errors import ApplicationState, AttemptRefused
from domain.job import Documents
from domain.retry import RetryPolicy
from tests.builders import ApplicationStory, an_application, documents_of, some_jobs
from tests.given import Given
from tests.stories import ATTEMPTED, POLICY, REFUSED_ENDED, STARTED, SUBMITTED, TWO, TWO_STARTED, WORKERS_DIED

# -- start: the fence -------------------------------------------------------------------------------------------------


def test_a_pending_one_starts_with_number_one() -> None:
    Given(*SUBMITTED).when(lambda a: a.start(POLICY)).then(ProcessingStarted(start=1, previous=Status.PENDING))


def test_a_worker_takes_over_with_the_next_number() -> None:
    Given(*STARTED).when(lambda a: a.start(POLICY)).then(ProcessingStarted(start=2, previous=Status.PROCESSING))


def test_a_retry_does_not_reset_the_number_of_starts() -> None:
    again = REFUSED_ENDED.retried()
    Given(*again).when(lambda a: a.start(POLICY)).then(ProcessingStarted(start=2, previous=Status.PENDING))


def test_the_next_try_is_a_start_of_its_own() -> None:
    waiting = ATTEMPTED.retry_scheduled()
    Given(*waiting).when(lambda a: a.start(POLICY)).then_history(*waiting.started())


@pytest.mark.parametrize(
    "ended",
    [
        pytest.param(STARTED.applied().succeeded(), id="success"),
        pytest.param(STARTED.refused().failed(), id="failed"),
        pytest.param(SUBMITTED.cancelled(), id="cancelled"),
        pytest.param(an_application(), id="never submitted"),
    ],
)
def test_nothing_is_started_that_has_ended_or_was_never_submitted(ended: ApplicationStory) -> None:
    Given(*ended).when(lambda a: a.start(POLICY)).then()


# -- start: a worker died ---------------------------------------------------------------------------------------------


def test_after_a_dead_worker_a_portal_with_keys_gets_the_job_again_under_the_same_key() -> None:
    Given(*ATTEMPTED).when(lambda a: a.start(POLICY)).then_history(*ATTEMPTED.started())
    again = ATTEMPTED.started()
    Given(*again).when(lambda a: a.begin_attempt(1, 2, "sandbox", Delivery.AT_LEAST_ONCE, Documents())).then_history(
        *again.attempted()
    )
    assert again.application.jobs[0].round == 1


def test_after_a_dead_worker_the_outcome_at_a_portal_without_keys_is_unknown() -> None:
    sent = STARTED.attempted_blind()
    reason = "Outcome unknown: the worker stopped before the portal's answer was recorded"
    Given(*sent).when(lambda a: a.start(POLICY)).then_history(*sent.started().lost().failed())
    assert isinstance(sent.started().lost().events[-1], JobFailed)
    assert sent.started().lost().application.jobs[0].failed == JobFailed(
        position=1,
        failure=Failure.UNKNOWN,
        reason=reason,
        error_type="WorkerLostError",
        job=some_jobs(1)[0],
        documents=documents_of(1),
    )


def test_what_was_not_sent_to_a_portal_without_keys_goes_on_after_a_dead_worker() -> None:
    one_sent = TWO_STARTED.attempted_blind(1)
    Given(*one_sent).when(lambda a: a.start(POLICY)).then_history(*one_sent.started().lost(1))


def test_an_attempt_that_was_not_taken_is_none_without_an_end() -> None:
    waiting = STARTED.attempted_blind().retry_scheduled()
    Given(*waiting).when(lambda a: a.start(POLICY)).then_history(*waiting.started())


def test_a_retry_that_names_another_job_is_no_end_of_this_attempt() -> None:
    waiting = TWO_STARTED.attempted_blind(1, 2).retry_scheduled(2)
    Given(*waiting).when(lambda a: a.start(POLICY)).then_history(*waiting.started().lost(1))


# -- start: what kills workers does not loop --------------------------------------------------------------------------


def died(story: ApplicationStory, times: int, delivery: Delivery = Delivery.AT_LEAST_ONCE) -> ApplicationStory:
    for _ in range(times):
        story = story.started().attempted(1, delivery=delivery)
    return story


def test_one_worker_fewer_than_the_limit_may_die() -> None:
    story = died(SUBMITTED, POLICY.max_retries)
    Given(*story).when(lambda a: a.start(POLICY)).then_history(*story.started())


def test_what_killed_its_last_workers_fails() -> None:
    story = died(SUBMITTED, POLICY.max_retries + 1)
    ended = story.exhausted(1, WORKERS_DIED, "WorkerLostError").failed(attempts=3)
    Given(*story).when(lambda a: a.start(POLICY)).then_history(*ended)


def test_all_its_open_jobs_fail_then() -> None:
    story = died(TWO, POLICY.max_retries + 1)
    one_failed = story.exhausted(1, WORKERS_DIED, "WorkerLostError")
    ended = one_failed.exhausted(2, WORKERS_DIED, "WorkerLostError").failed(attempts=3)
    Given(*story).when(lambda a: a.start(POLICY)).then_history(*ended)


def test_those_that_were_applied_stay_applied_then() -> None:
    story = died(TWO.started().applied(2), POLICY.max_retries + 1)
    ended = story.exhausted(1, WORKERS_DIED, "WorkerLostError").failed(attempts=3)
    Given(*story).when(lambda a: a.start(POLICY)).then_history(*ended)


def test_what_was_sent_without_a_key_by_the_last_of_them_is_unknown() -> None:
    story = died(SUBMITTED, POLICY.max_retries).started().attempted_blind()
    events = Given(*story).application.start(POLICY)
    assert [(e.failure, e.reason) for e in events if isinstance(e, JobFailed)] == [
        (Failure.UNKNOWN, f"Outcome unknown: Max retries exceeded: {WORKERS_DIED}")
    ]


def test_a_start_that_reached_no_attempt_counts_as_well() -> None:
    story = SUBMITTED.started().started().started()
    [*_, end] = Given(*story).application.start(POLICY)
    assert isinstance(end, ApplicationFailed)


@pytest.mark.parametrize(
    "progress",
    [
        pytest.param(died(TWO, 3).applied(2), id="applied"),
        pytest.param(died(TWO, 3).refused(2), id="failed"),
        pytest.param(died(TWO, 3).retry_scheduled(), id="a counted retry"),
        pytest.param(died(TWO, 3).given_back(), id="given back"),
        pytest.param(died(TWO, 3).refused(1).refused(2).failed().retried(), id="a person's retry"),
    ],
)
def test_a_result_a_pause_or_a_retry_begins_the_count_of_dead_workers_anew(progress: ApplicationStory) -> None:
    again = died(progress, POLICY.max_retries)
    Given(*again).when(lambda a: a.start(POLICY)).then_history(*again.started())


def test_a_requeue_does_not_begin_the_count_anew() -> None:
    story = died(SUBMITTED, 3).requeued()
    [*_, end] = Given(*story).application.start(POLICY)
    assert isinstance(end, ApplicationFailed)


def test_without_retries_the_first_dead_worker_is_the_last() -> None:
    none = RetryPolicy(max_retries=0)
    ended = ATTEMPTED.exhausted(1, WORKERS_DIED, "WorkerLostError").failed(attempts=1)
    Given(*ATTEMPTED).when(lambda a: a.start(none)).then_history(*ended)


# -- begin an attempt -------------------------------------------------------------------------------------------------


def test_an_attempt_is_in_the_log_with_its_documents() -> None:
    Given(*STARTED).when(
        lambda a: a.begin_attempt(1, 1, "sandbox", Delivery.AT_LEAST_ONCE, documents_of(1))
    ).then_history(*STARTED.attempted())


def test_documents_are_written_once_a_round() -> None:
    again = ATTEMPTED.retry_scheduled().started()
    other = Documents(cover_letter={"text": "another"})
    Given(*again).when(lambda a: a.begin_attempt(1, 2, "sandbox", Delivery.AT_LEAST_ONCE, other)).then_history(
        *again.attempted()
    )
    assert again.attempted().application.jobs[0].documents == documents_of(1)


def test_documents_that_could_not_be_made_are_not_made_again() -> None:
    none = STARTED.then(*STARTED.application.begin_attempt(1, 1, "sandbox", Delivery.AT_LEAST_ONCE, Documents()))
    again = none.retry_scheduled().started()
    [attempted] = again.application.begin_attempt(1, 2, "sandbox", Delivery.AT_LEAST_ONCE, documents_of(1))
    assert attempted.NAME == "application.job_attempted"


@pytest.mark.parametrize(
    ("story", "start"),
    [
        pytest.param(STARTED.started(), 1, id="a later start is in the log"),
        pytest.param(STARTED, 2, id="a start that never was"),
        pytest.param(ATTEMPTED.applied().succeeded(), 1, id="applied"),
        pytest.param(TWO_STARTED.attempted().refused(), 1, id="failed"),
        pytest.param(ATTEMPTED.refused().failed(), 1, id="the application has failed"),
        pytest.param(ATTEMPTED.refused().failed().retried(), 1, id="opened again, but not started"),
        pytest.param(ATTEMPTED.refused().failed().retried().cancelled(), 1, id="cancelled"),
        pytest.param(ATTEMPTED.retry_scheduled(), 1, id="given back for a later start"),
    ],
)
def test_nothing_is_sent_once_its_start_or_its_job_is_over(story: ApplicationStory, start: int) -> None:
    Given(*story).when(
        lambda a: a.begin_attempt(1, start, "sandbox", Delivery.AT_LEAST_ONCE, Documents())
    ).then_refused(AttemptRefused)


@pytest.mark.parametrize("delivery", Delivery)
def test_what_a_portal_without_keys_may_have_is_not_sent_again_in_the_same_start(delivery: Delivery) -> None:
    sent = STARTED.attempted_blind()
    Given(*sent).when(lambda a: a.begin_attempt(1, 1, "blind", delivery, Documents())).then_refused(AttemptRefused)


@pytest.mark.parametrize("position", [0, -1, 2])
def test_a_job_that_is_not_there_is_not_attempted(position: int) -> None:
    Given(*STARTED).when(
        lambda a: a.begin_attempt(position, 1, "sandbox", Delivery.AT_LEAST_ONCE, Documents())
    ).then_refused(ApplicationState)
