"""Results of jobs, and the corners of those that come late (design 4, contract http.md 1.9)."""

import pytest

from domain.application import Verdict, refused
from domain.application_events import (
    ApplicationFailed,
    ApplicationSucceeded,
    Brief,
    Failure,
    JobApplied,
    JobFailed,
    RetryScheduled,
    Status,
)
from domain.errors import ApplicationState
from domain.job import Documents
from tests.builders import CV, ApplicationStory, documents_of, some_jobs
from tests.given import Given
from tests.stories import ATTEMPTED, CLOSED, POLICY, SILENT, STARTED, SUBMITTED, TWO_STARTED, UNKNOWN_ENDED

# -- results ----------------------------------------------------------------------------------------------------------


def test_a_result_carries_its_job_and_documents() -> None:
    job, documents = some_jobs(1)[0], documents_of(1)
    Given(*ATTEMPTED).when(lambda a: a.record_applied(1, "SBX-1")).then(
        JobApplied(position=1, reference="SBX-1", was_failed=False, job=job, documents=documents),
        ApplicationSucceeded(previous=Status.PROCESSING),
    )


def test_the_last_job_applied_ends_it_as_success() -> None:
    one = TWO_STARTED.attempted(1, 2).applied(1)
    Given(*one).when(lambda a: a.record_applied(2, "SBX-1")).then_history(*one.applied(2).succeeded())


def test_a_job_applied_before_the_last_ends_nothing() -> None:
    Given(*TWO_STARTED).when(lambda a: a.record_applied(2, "SBX-1")).then_history(*TWO_STARTED.applied(2))


def test_a_portal_need_not_give_a_reference() -> None:
    Given(*ATTEMPTED).when(lambda a: a.record_applied(1, None)).then_history(*ATTEMPTED.applied(1, None).succeeded())


def test_a_refusal_fails_it_with_that_reason() -> None:
    Given(*ATTEMPTED).when(lambda a: a.record_failed(1, 1, CLOSED)).then_history(*ATTEMPTED.refused().failed())


def test_a_failed_job_ends_nothing_while_another_is_open() -> None:
    Given(*TWO_STARTED).when(lambda a: a.record_failed(1, 1, CLOSED)).then_history(*TWO_STARTED.refused(1))


def test_it_fails_with_the_reason_of_its_first_failed_job() -> None:
    second = TWO_STARTED.refused(2, "Second")
    ended = second.refused(1, "First")
    Given(*second).when(lambda a: a.record_failed(1, 1, refused("First", "PortalRefusedError"))).then_history(
        *ended.failed()
    )
    assert isinstance(ended.failed().events[-1], ApplicationFailed)
    assert ended.failed().application.jobs[0].failed == ended.events[-1]


def test_one_job_failed_makes_it_failed_whatever_comes_after() -> None:
    Given(*TWO_STARTED.refused(1)).when(lambda a: a.record_applied(2, "SBX-1")).then_history(
        *TWO_STARTED.refused(1).applied(2).failed()
    )


def test_its_end_tells_what_queued_it_and_how_often_it_was_tried() -> None:
    tried = ATTEMPTED.retry_scheduled().started().attempted().retry_scheduled().started().attempted()
    [*_, end] = tried.application.record_failed(1, 3, CLOSED)
    queued = 1 + max(n for n, event in enumerate(tried) if isinstance(event, RetryScheduled))
    assert end == ApplicationFailed(
        reason="Position closed",
        error_type="PortalRefusedError",
        attempts=3,
        queued_version=queued,
        brief=Brief(cv_id=CV.id, style="modern"),
    )


def test_a_job_that_fails_before_its_attempt_has_no_documents() -> None:
    [failed, _] = STARTED.application.record_failed(1, 1, refused("ResumeNotFoundError", "ResumeNotFoundError"))
    assert isinstance(failed, JobFailed)
    assert failed.documents == Documents()


def test_an_unknown_outcome_says_so() -> None:
    assert Verdict(Failure.UNKNOWN, "Outcome unknown: no answer", "TimeoutError") == SILENT
    Given(*ATTEMPTED).when(lambda a: a.record_failed(1, 1, SILENT)).then_history(*ATTEMPTED.unknown().failed())


def test_nothing_is_expected_of_one_that_never_started() -> None:
    Given(*SUBMITTED).when(lambda a: a.record_applied(1, "SBX-1")).then_refused(ApplicationState)
    Given(*SUBMITTED).when(lambda a: a.record_failed(1, 1, CLOSED)).then_refused(ApplicationState)


def test_nothing_is_expected_of_a_job_that_is_not_there() -> None:
    for position in (0, 2):
        Given(*STARTED).when(lambda a, p=position: a.record_applied(p, "SBX-1")).then_refused(ApplicationState)  # type: ignore[misc]


@pytest.mark.parametrize("ended", [ATTEMPTED.applied(), ATTEMPTED.refused(), ATTEMPTED.retry_scheduled()])
def test_an_attempt_ends_with_a_result_or_a_retry_that_names_it(ended: ApplicationStory) -> None:
    assert ATTEMPTED.application.jobs[0].attempted == ATTEMPTED.events[-1]
    assert ended.application.jobs[0].attempted is None


# -- the corners: a result for a job that is applied already ----------------------------------------------------------


def test_applied_again_changes_nothing() -> None:
    Given(*TWO_STARTED.applied(1)).when(lambda a: a.record_applied(1, "SBX-2")).then()
    Given(*STARTED.applied(1).succeeded()).when(lambda a: a.record_applied(1, "SBX-2")).then()


def test_no_failure_follows_applied() -> None:
    Given(*TWO_STARTED.applied(1)).when(lambda a: a.record_failed(1, 1, SILENT)).then()


# -- the corners: `applied` that comes late ---------------------------------------------------------------------------


def test_a_late_applied_after_an_unknown_outcome_makes_a_failed_one_a_success() -> None:
    Given(*UNKNOWN_ENDED).when(lambda a: a.record_applied(1, "SBX-1")).then_history(
        *UNKNOWN_ENDED.applied(1).succeeded()
    )


def test_its_entry_moves_from_the_failed_to_the_applied() -> None:
    [applied, succeeded] = UNKNOWN_ENDED.application.record_applied(1, "SBX-1")
    assert isinstance(applied, JobApplied)
    assert applied.was_failed
    assert succeeded == ApplicationSucceeded(previous=Status.FAILED)


def test_a_late_applied_while_others_are_open_ends_nothing() -> None:
    running = TWO_STARTED.attempted(1, 2).unknown(1)
    Given(*running).when(lambda a: a.record_applied(1, "SBX-1")).then_history(*running.applied(1))


def test_a_late_applied_can_leave_all_applied_at_the_end() -> None:
    running = TWO_STARTED.attempted(1, 2).unknown(1).applied(1)
    Given(*running).when(lambda a: a.record_applied(2, "SBX-1")).then_history(*running.applied(2).succeeded())


def test_one_that_stays_failed_gets_no_second_end() -> None:
    ended = TWO_STARTED.attempted(1, 2).unknown(1).refused(2).failed()
    Given(*ended).when(lambda a: a.record_applied(1, "SBX-1")).then_history(*ended.applied(1))


def test_a_late_applied_for_what_a_retry_opened_again_makes_a_pending_one_a_success() -> None:
    again = UNKNOWN_ENDED.retried()
    [applied, succeeded] = Given(*again).application.record_applied(1, "SBX-1")
    assert isinstance(applied, JobApplied)
    assert not applied.was_failed  # the retry took it out of the failed ones
    assert succeeded == ApplicationSucceeded(previous=Status.PENDING)


def test_what_a_late_applied_ended_is_not_started_any_more() -> None:
    again = UNKNOWN_ENDED.retried().applied(1).succeeded()
    Given(*again).when(lambda a: a.start(POLICY)).then()


def test_a_late_applied_leaves_a_pending_one_pending_while_others_are_open() -> None:
    again = TWO_STARTED.attempted(1, 2).unknown(1).unknown(2).failed().retried()
    Given(*again).when(lambda a: a.record_applied(1, "SBX-1")).then_history(*again.applied(1))
    assert again.applied(1).application.status is Status.PENDING


def test_a_late_applied_of_a_processing_one_counts_whatever_start_it_belongs_to() -> None:
    taken_over = ATTEMPTED.started().attempted()
    Given(*taken_over).when(lambda a: a.record_applied(1, "SBX-1")).then_history(*taken_over.applied().succeeded())


def test_a_late_applied_counts_while_the_next_try_waits() -> None:
    waiting = ATTEMPTED.retry_scheduled()
    Given(*waiting).when(lambda a: a.record_applied(1, "SBX-1")).then_history(*waiting.applied().succeeded())


def test_a_late_applied_is_listed_but_leaves_a_cancelled_one_cancelled() -> None:
    cancelled = UNKNOWN_ENDED.retried().cancelled()
    Given(*cancelled).when(lambda a: a.record_applied(1, "SBX-1")).then_history(*cancelled.applied(1))
    assert cancelled.applied(1).application.status is Status.CANCELLED


def test_a_late_applied_is_recorded_of_a_cancelled_one_with_other_jobs_open() -> None:
    cancelled = TWO_STARTED.attempted(1, 2).unknown(1).unknown(2).failed().retried().cancelled()
    Given(*cancelled).when(lambda a: a.record_applied(2, "SBX-1")).then_history(*cancelled.applied(2))


def test_exhausted_and_opened_again_it_still_counts() -> None:
    again = ATTEMPTED.exhausted().failed().retried()
    Given(*again).when(lambda a: a.record_applied(1, "SBX-1")).then_history(*again.applied().succeeded())


# -- the corners: any other late result -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ended",
    [
        pytest.param(ATTEMPTED.refused().failed(), id="refused"),
        pytest.param(ATTEMPTED.exhausted().failed(), id="exhausted"),
        pytest.param(TWO_STARTED.attempted().refused(), id="refused, others open"),
    ],
)
def test_applied_after_a_definite_end_changes_nothing(ended: ApplicationStory) -> None:
    Given(*ended).when(lambda a: a.record_applied(1, "SBX-1")).then()


@pytest.mark.parametrize("verdict", [CLOSED, SILENT])
@pytest.mark.parametrize(
    "story",
    [
        pytest.param(ATTEMPTED.unknown().failed(), id="job failed"),
        pytest.param(TWO_STARTED.attempted().unknown(), id="job failed, others open"),
        pytest.param(ATTEMPTED.applied().succeeded(), id="success"),
        pytest.param(ATTEMPTED.refused().failed().retried(), id="opened again"),
        pytest.param(ATTEMPTED.refused().failed().retried().started(), id="of the start before the retry"),
        pytest.param(ATTEMPTED.started(), id="of an earlier start"),
        pytest.param(ATTEMPTED.retry_scheduled(), id="given back"),
        pytest.param(ATTEMPTED.retry_scheduled().started(), id="given back and taken up again"),
        pytest.param(ATTEMPTED.refused().failed().retried().cancelled(), id="cancelled"),
    ],
)
def test_any_other_result_that_comes_late_changes_nothing(story: ApplicationStory, verdict: Verdict) -> None:
    Given(*story).when(lambda a: a.record_failed(1, 1, verdict)).then()
