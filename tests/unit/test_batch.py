"""The rules of a batch (design 4, contract http.md 7)."""

from collections.abc import Sequence

import pytest

from domain.application import Application
from domain.application_events import ApplicationCancelled, Status
from domain.batch import BatchCancelled, BatchStatus, BatchSubmitted, batch_status
from domain.errors import ApplicationAlreadyProcessed, ApplicationState
from tests.builders import ApplicationStory, a_batch, some_applications
from tests.given import GivenBatch

PENDING, PROCESSING = Status.PENDING, Status.PROCESSING
SUCCESS, FAILED, CANCELLED = Status.SUCCESS, Status.FAILED, Status.CANCELLED

FIRST, SECOND, THIRD = some_applications(3)
SUBMITTED = a_batch(3)


def states(*items: ApplicationStory) -> Sequence[Application]:
    return [item.application for item in items]


def succeeded(item: ApplicationStory) -> ApplicationStory:
    return item.started().applied().succeeded()


def failed(item: ApplicationStory) -> ApplicationStory:
    return item.started().refused().failed()


# -- submit -----------------------------------------------------------------------------------------------------------


def test_a_batch_names_its_applications_in_their_order() -> None:
    ids = (THIRD.id, FIRST.id)
    GivenBatch().when(lambda b: b.submit(ids)).then(BatchSubmitted(application_ids=ids))
    assert GivenBatch(BatchSubmitted(application_ids=ids)).batch.application_ids == ids


def test_a_batch_is_submitted_once() -> None:
    GivenBatch(*SUBMITTED).when(lambda b: b.submit((FIRST.id,))).then_refused(ApplicationState)


# -- status (contract http.md 7.2) ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "status"),
    [
        ([PENDING], BatchStatus.PENDING),
        ([PENDING, PENDING], BatchStatus.PENDING),
        ([PENDING, CANCELLED], BatchStatus.PENDING),
        ([PENDING, PROCESSING], BatchStatus.PROCESSING),
        ([PROCESSING], BatchStatus.PROCESSING),
        ([PENDING, SUCCESS], BatchStatus.PROCESSING),
        ([PENDING, FAILED], BatchStatus.PROCESSING),
        ([PROCESSING, CANCELLED], BatchStatus.PROCESSING),
        ([SUCCESS, SUCCESS], BatchStatus.COMPLETED),
        ([SUCCESS], BatchStatus.COMPLETED),
        ([FAILED, FAILED], BatchStatus.FAILED),
        ([FAILED, CANCELLED], BatchStatus.FAILED),
        ([CANCELLED, CANCELLED], BatchStatus.CANCELLED),
        ([SUCCESS, FAILED], BatchStatus.PARTIAL),
        ([SUCCESS, CANCELLED], BatchStatus.PARTIAL),
        ([SUCCESS, FAILED, CANCELLED], BatchStatus.PARTIAL),
    ],
)
def test_its_status_follows_from_its_items(items: list[Status], status: BatchStatus) -> None:
    assert batch_status(items) is status
    assert batch_status(items[::-1]) is status


def test_a_retried_item_takes_its_batch_back_to_processing() -> None:
    """Also where it is the only one: http.md 1.9."""
    assert batch_status([PENDING], started=True) is BatchStatus.PROCESSING
    assert batch_status([PENDING, CANCELLED], started=True) is BatchStatus.PROCESSING


def test_what_has_been_started_once_does_not_keep_a_batch_from_its_end() -> None:
    assert batch_status([SUCCESS], started=True) is BatchStatus.COMPLETED
    assert batch_status([CANCELLED], started=True) is BatchStatus.CANCELLED


# -- cancel (contract http.md 7.3) ------------------------------------------------------------------------------------


def test_cancelling_takes_back_the_pending_items_only() -> None:
    items = states(FIRST, SECOND.started(), succeeded(THIRD))
    GivenBatch(*SUBMITTED).when(lambda b: b.cancel(items)).then(BatchCancelled(cancelled=(FIRST.id,), retries=0))


def test_each_item_that_it_names_can_be_cancelled() -> None:
    items = states(FIRST, SECOND, THIRD.started())
    [event] = GivenBatch(*SUBMITTED).batch.cancel(items)
    assert isinstance(event, BatchCancelled)
    cancelled = [item.cancel() for item in items if item.id in event.cancelled]
    assert cancelled == [[ApplicationCancelled(reason="Cancelled by user")]] * 2


def test_a_batch_with_nothing_pending_can_be_cancelled_while_it_runs() -> None:
    items = states(FIRST.started(), SECOND.started())
    GivenBatch(*SUBMITTED).when(lambda b: b.cancel(items)).then(BatchCancelled(cancelled=(), retries=0))


@pytest.mark.parametrize(
    "items",
    [
        pytest.param([succeeded(FIRST), succeeded(SECOND)], id="completed"),
        pytest.param([failed(FIRST), failed(SECOND)], id="failed"),
        pytest.param([succeeded(FIRST), failed(SECOND)], id="partial"),
        pytest.param([FIRST.cancelled(), SECOND.cancelled()], id="cancelled"),
    ],
)
def test_a_batch_that_has_ended_cannot_be_cancelled(items: list[ApplicationStory]) -> None:
    GivenBatch(*SUBMITTED).when(lambda b: b.cancel(states(*items))).then_refused(ApplicationAlreadyProcessed)


def test_a_batch_is_not_cancelled_twice() -> None:
    items = states(FIRST.cancelled(), SECOND.started())
    GivenBatch(*SUBMITTED.cancelled(FIRST.id)).when(lambda b: b.cancel(items)).then_refused(ApplicationAlreadyProcessed)


def test_after_a_retry_of_an_item_it_can_be_cancelled_again() -> None:
    items = states(FIRST.cancelled(), failed(SECOND).retried())
    GivenBatch(*SUBMITTED.cancelled(FIRST.id)).when(lambda b: b.cancel(items)).then(
        BatchCancelled(cancelled=(SECOND.id,), retries=1)
    )


def test_one_retry_opens_it_for_one_cancel_only() -> None:
    items = states(FIRST.cancelled(), failed(SECOND).retried().started())
    again = SUBMITTED.cancelled(FIRST.id).cancelled(retries=1)
    GivenBatch(*again).when(lambda b: b.cancel(items)).then_refused(ApplicationAlreadyProcessed)


def test_a_retry_before_the_first_cancel_does_not_allow_a_second() -> None:
    items = states(failed(FIRST).retried().started(), SECOND.cancelled())
    GivenBatch(*SUBMITTED.cancelled(SECOND.id, retries=1)).when(lambda b: b.cancel(items)).then_refused(
        ApplicationAlreadyProcessed
    )


# -- the fold ---------------------------------------------------------------------------------------------------------


def test_an_event_that_is_none_of_a_batch_does_not_vanish() -> None:
    with pytest.raises(TypeError):
        SUBMITTED.batch.after(ApplicationCancelled(reason="no"))


def test_versions_count_the_events() -> None:
    assert SUBMITTED.cancelled().batch.version == 2
