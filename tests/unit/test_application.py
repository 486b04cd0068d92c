"""What users may ask of an application, and what it is called (design 4, contract http.md 1.1 and 6)."""

from uuid import UUID

import pytest

from domain.application import JobState, entry_id
from domain.application_events import (
    ApplicationCancelled,
    ApplicationSubmitted,
    Brief,
    Delivery,
    Reopened,
    RetryRequested,
    Status,
)
from domain.batch import BatchSubmitted
from domain.errors import ApplicationAlreadyProcessed, ApplicationState
from domain.job import Documents
from tests.builders import CV, ApplicationStory, an_application, documents_of, some_jobs
from tests.given import Given
from tests.stories import ATTEMPTED, CLOSED, POLICY, REFUSED_ENDED, STARTED, SUBMITTED, TWO

# -- submit -----------------------------------------------------------------------------------------------------------


def test_a_submission_holds_what_the_user_gave() -> None:
    jobs = some_jobs(2)
    Given().when(lambda a: a.submit(jobs, "modern", CV)).then(ApplicationSubmitted(jobs=jobs, style="modern", cv=CV))


def test_an_application_is_submitted_once() -> None:
    Given(*SUBMITTED).when(lambda a: a.submit(some_jobs(1), None, None)).then_refused(ApplicationState)


def test_an_application_without_a_job_would_never_end() -> None:
    Given().when(lambda a: a.submit((), None, None)).then_refused(ValueError)


def test_a_submitted_one_is_pending_with_all_jobs_open_in_their_first_round() -> None:
    application = TWO.application
    assert (application.status, application.version, application.queued_version) == (Status.PENDING, 1, 1)
    assert [(position, job.round) for position, job in application.open_jobs] == [(1, 1), (2, 1)]


def test_the_brief_names_cv_and_style() -> None:
    assert SUBMITTED.application.brief == Brief(cv_id=CV.id, style="modern")
    assert an_application().submitted(style=None, cv=None).application.brief == Brief()


# -- entry ids (contract http.md 1.1) ---------------------------------------------------------------------------------


def test_the_entry_of_a_single_job_has_the_id_of_its_application() -> None:
    assert SUBMITTED.application.entry_id(1) == SUBMITTED.id.hex


def test_the_entries_of_several_jobs_are_numbered_from_one() -> None:
    application = an_application().submitted(jobs=12).application
    assert [application.entry_id(n) for n in (1, 12)] == [f"{application.id.hex}-1", f"{application.id.hex}-12"]


def test_an_entry_id_is_32_lower_case_hex_digits() -> None:
    assert entry_id(UUID(int=0xABC), 1, 1) == "00000000000000000000000000000abc"


# -- cancel (contract http.md 6.2) ------------------------------------------------------------------------------------


def test_a_pending_application_can_be_cancelled() -> None:
    Given(*SUBMITTED).when(lambda a: a.cancel()).then(ApplicationCancelled(reason="Cancelled by user"))


@pytest.mark.parametrize("story", [STARTED, ATTEMPTED.retry_scheduled()], ids=["running", "between attempts"])
def test_one_in_processing_cannot_be_cancelled(story: ApplicationStory) -> None:
    Given(*story).when(lambda a: a.cancel()).then_refused(ApplicationState)


@pytest.mark.parametrize(
    "ended",
    [STARTED.applied().succeeded(), STARTED.refused().failed(), SUBMITTED.cancelled()],
    ids=["success", "failed", "cancelled"],
)
def test_one_that_has_ended_cannot_be_cancelled(ended: ApplicationStory) -> None:
    Given(*ended).when(lambda a: a.cancel()).then_refused(ApplicationAlreadyProcessed)


def test_cancelled_after_a_retry_the_applied_stay_and_the_others_are_nowhere() -> None:
    cancelled = REFUSED_ENDED.retried().cancelled().application
    assert [(job.applied, job.failed) for job in cancelled.jobs] == [(False, None), (True, None)]


# -- retry (contract http.md 6.1) -------------------------------------------------------------------------------------


def test_a_retry_takes_only_the_failed_jobs() -> None:
    Given(*REFUSED_ENDED).when(lambda a: a.retry()).then(
        RetryRequested(reopened=(Reopened(position=1, portal="sandbox"),), brief=Brief(cv_id=CV.id, style="modern"))
    )
    again = REFUSED_ENDED.retried().application
    assert again.status is Status.PENDING
    assert [position for position, _ in again.open_jobs] == [1]


def test_after_a_definite_no_a_retry_is_a_new_round_with_new_documents() -> None:
    job = REFUSED_ENDED.retried().application.jobs[0]
    assert job == JobState(job.job, round=2)


@pytest.mark.parametrize(
    ("ended", "doubtful"),
    [
        pytest.param(ATTEMPTED.unknown().failed(), True, id="unknown"),
        pytest.param(ATTEMPTED.exhausted().failed(), False, id="exhausted"),
    ],
)
def test_without_a_definite_no_a_retry_keeps_its_round_and_documents(ended: ApplicationStory, doubtful: bool) -> None:
    job = ended.retried().application.jobs[0]
    assert job == JobState(job.job, round=1, documents=documents_of(1), doubtful=doubtful)


def test_no_later_answer_undoes_what_a_portal_without_keys_may_have_taken() -> None:
    """The second attempt is refused; what became of the first is not known any better."""
    again = STARTED.attempted_blind().unknown().failed().retried().started().attempted_blind()
    refused_now = "an earlier attempt may have been taken; the last one: Position closed"
    ended = again.unknown(reason=refused_now, error_type="PortalRefusedError").failed()
    Given(*again).when(lambda a: a.record_failed(1, 2, CLOSED)).then_history(*ended)
    Given(*ended).when(lambda a: a.record_applied(1, "SBX-1")).then_history(*ended.applied().succeeded())
    assert ended.retried().application.jobs[0].doubtful
    assert not again.applied().succeeded().application.jobs[0].failed


def test_what_was_sent_without_a_key_goes_again_only_by_a_persons_retry() -> None:
    sent = STARTED.attempted_blind().started().lost().failed()
    Given(*sent).when(lambda a: a.start(POLICY)).then()
    again = sent.retried().started()
    Given(*again).when(lambda a: a.begin_attempt(1, 3, "blind", Delivery.AT_MOST_ONCE, Documents())).then_history(
        *again.attempted_blind()
    )


@pytest.mark.parametrize(
    "story",
    [SUBMITTED, STARTED, SUBMITTED.cancelled(), REFUSED_ENDED.retried()],
    ids=["pending", "processing", "cancelled", "retried already"],
)
def test_only_a_failed_one_can_be_retried(story: ApplicationStory) -> None:
    Given(*story).when(lambda a: a.retry()).then_refused(ApplicationState)


def test_a_success_cannot_be_retried() -> None:
    Given(*STARTED.applied().succeeded()).when(lambda a: a.retry()).then_refused(ApplicationAlreadyProcessed)


def test_the_newest_failure_is_told_by_its_version() -> None:
    failed = STARTED.refused().failed()
    assert failed.application.failed_version == len(failed.events)
    assert failed.retried().application.failed_version == len(failed.events)
    twice = failed.retried().started().refused().failed()
    assert twice.application.failed_version == len(twice.events)


def test_retries_by_persons_are_counted_over_its_whole_life() -> None:
    twice = STARTED.refused().failed().retried().started().refused().failed().retried()
    assert twice.application.retries_requested == 2


# -- requeue (design 7, reconciler) -----------------------------------------------------------------------------------


@pytest.mark.parametrize("story", [SUBMITTED, STARTED, ATTEMPTED.retry_scheduled()])
def test_one_that_seems_stuck_is_queued_again(story: ApplicationStory) -> None:
    Given(*story).when(lambda a: a.requeue("Its message seems to be lost")).then_history(*story.requeued())
    assert story.requeued().application.status is story.application.status


@pytest.mark.parametrize(
    "story", [an_application(), STARTED.applied().succeeded(), STARTED.refused().failed(), SUBMITTED.cancelled()]
)
def test_what_has_ended_or_never_was_is_not_queued_again(story: ApplicationStory) -> None:
    Given(*story).when(lambda a: a.requeue("stuck")).then()


def test_a_requeue_does_not_end_the_running_start() -> None:
    running = STARTED.requeued()
    Given(*running).when(
        lambda a: a.begin_attempt(1, 1, "sandbox", Delivery.AT_LEAST_ONCE, documents_of(1))
    ).then_history(*running.attempted())


# -- the fold ---------------------------------------------------------------------------------------------------------


def test_an_event_that_is_none_of_an_application_does_not_vanish() -> None:
    with pytest.raises(TypeError):
        SUBMITTED.application.after(BatchSubmitted(application_ids=()))


def test_versions_count_the_events() -> None:
    assert REFUSED_ENDED.application.version == len(REFUSED_ENDED.events)
