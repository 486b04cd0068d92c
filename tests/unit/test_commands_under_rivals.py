"""Load, decide, append, when another append comes first, a later start is in the log, or the log is away."""

import pytest

from domain.application_events import Delivery, JobApplied, ProcessingStarted, Requeued, Status
from domain.commands import CONFLICT_TRIES, ApplicationCommands
from domain.errors import (
    ApplicationState,
    AttemptRefused,
    Conflict,
    OutcomeUnknown,
    Overloaded,
    StoreError,
    StoreTimeout,
    StoreUnavailable,
)
from domain.event import Cause
from domain.rejected_message import MessageRejected, message_stream, raw_parts
from tests.builders import APPLICATION_ID, CAUSE, ApplicationStory, documents_of, some_jobs
from tests.fakes.rivalled_log import RivalledLog
from tests.stories import ATTEMPTED, CLOSED, STARTED, SUBMITTED, TWO, TWO_STARTED
from tests.work import MINE, WORKER, busy, loaded_from

# -- conflicts --------------------------------------------------------------------------------------------------------


async def test_of_a_cancel_and_a_start_at_the_same_moment_the_start_wins(
    commands: ApplicationCommands, log: RivalledLog
) -> None:
    await loaded_from(commands, SUBMITTED)
    log.rivals = [[ProcessingStarted(start=1, previous=Status.PENDING)]]
    with pytest.raises(ApplicationState):
        await commands.cancel("ada", APPLICATION_ID, CAUSE)
    assert await log.history() == list(STARTED)


async def test_of_a_cancel_and_a_start_at_the_same_moment_the_cancel_wins(
    commands: ApplicationCommands, log: RivalledLog
) -> None:
    loaded = await loaded_from(commands, SUBMITTED)
    log.rivals = [[SUBMITTED.cancelled().events[-1]]]
    ended = await commands.start(loaded, WORKER, MINE)
    assert ended.application.status is Status.CANCELLED
    assert await log.history() == list(SUBMITTED.cancelled())
    assert await log.claims.held([MINE.name]) == set()


async def test_after_a_conflict_all_is_decided_again(commands: ApplicationCommands, log: RivalledLog) -> None:
    loaded = await loaded_from(commands, TWO_STARTED.attempted(1, 2))
    log.rivals = [[TWO_STARTED.attempted(1, 2).applied(2).events[-1]]]
    settled = await commands.settle(loaded, WORKER, 1, "SBX-1", MINE)
    assert await log.history() == list(TWO_STARTED.attempted(1, 2).applied(2).applied(1).succeeded())
    assert (settled.application.status, settled.position) == (Status.SUCCESS, await log.head())


@pytest.mark.parametrize("queued", [ATTEMPTED.retry_scheduled(), ATTEMPTED.requeued()], ids=["retry", "requeued"])
async def test_what_was_queued_again_meanwhile_waits_for_its_newer_message(
    commands: ApplicationCommands, log: RivalledLog, queued: ApplicationStory
) -> None:
    """Else the retry would begin before it is due."""
    loaded = await loaded_from(commands, ATTEMPTED)
    log.rivals = [queued.events[-1:]]
    with pytest.raises(Conflict):
        await commands.start(loaded, WORKER, MINE)
    assert await log.history() == list(queued)
    assert await log.claims.held([MINE.name]) == set()


async def test_ten_conflicts_in_a_row_are_overload(commands: ApplicationCommands, log: RivalledLog) -> None:
    await loaded_from(commands, SUBMITTED)
    log.rivals = [SUBMITTED.requeued().events[-1:] for _ in range(20)]
    with pytest.raises(Overloaded):
        await commands.cancel("ada", APPLICATION_ID, CAUSE)
    assert len(log.appends) == CONFLICT_TRIES == 10
    assert not [event for event in await log.history() if event.NAME == "application.cancelled"]


async def test_the_tenth_try_may_still_get_in(commands: ApplicationCommands, log: RivalledLog) -> None:
    await loaded_from(commands, SUBMITTED)
    log.rivals = [SUBMITTED.requeued().events[-1:] for _ in range(9)]
    assert (await commands.cancel("ada", APPLICATION_ID, CAUSE)).application.status is Status.CANCELLED


async def test_a_requeue_that_meets_a_conflict_is_none(commands: ApplicationCommands, log: RivalledLog) -> None:
    """Something has happened: it is not stuck."""
    loaded = await loaded_from(commands, SUBMITTED)
    log.rivals = [STARTED.events[-1:]]
    with pytest.raises(Conflict):
        await commands.requeue(loaded, Cause("worker:relay"), "stuck")
    assert await log.history() == list(STARTED)


async def test_what_is_stuck_is_queued_again(commands: ApplicationCommands, log: RivalledLog) -> None:
    loaded = await loaded_from(commands, SUBMITTED)
    queued = await commands.requeue(loaded, Cause("worker:relay"), "stuck")
    [*_, event] = await log.history()
    assert isinstance(event, Requeued)
    assert queued.application.queued_version == 2


async def test_what_has_ended_is_not_queued_again(commands: ApplicationCommands, log: RivalledLog) -> None:
    await commands.requeue(await loaded_from(commands, SUBMITTED.cancelled()), Cause("worker:relay"), "stuck")
    assert log.appends == []


# -- the fence --------------------------------------------------------------------------------------------------------

TAKEN_OVER = ProcessingStarted(start=2, previous=Status.PROCESSING)


async def test_nothing_is_sent_when_a_later_start_came_first(commands: ApplicationCommands, log: RivalledLog) -> None:
    loaded = await loaded_from(commands, STARTED)
    log.rivals = [[TAKEN_OVER]]
    with pytest.raises(AttemptRefused):
        await commands.begin_attempt(loaded, WORKER, 1, "sandbox", Delivery.AT_LEAST_ONCE, documents_of(1))
    assert await log.history() == [*STARTED, TAKEN_OVER]


async def test_who_has_seen_a_later_start_still_works_under_his_own(
    commands: ApplicationCommands, log: RivalledLog
) -> None:
    """One of two jobs was settled over a conflict: what that gave back does not open the fence for the other."""
    loaded = await loaded_from(commands, TWO.started().attempted(1))
    log.rivals = [[TAKEN_OVER]]
    loaded = await commands.settle(loaded, WORKER, 1, "SBX-1", MINE)
    assert (loaded.application.starts, loaded.start) == (2, 1)
    with pytest.raises(AttemptRefused):
        await commands.begin_attempt(loaded, WORKER, 2, "sandbox", Delivery.AT_LEAST_ONCE, documents_of(2))
    history = await log.history()
    await commands.settle(loaded, WORKER, 2, CLOSED, MINE)
    await commands.pause(loaded, WORKER, [busy(2)], MINE)
    assert await log.history() == history


async def test_of_an_earlier_start_only_applied_is_recorded(commands: ApplicationCommands, log: RivalledLog) -> None:
    loaded = await loaded_from(commands, ATTEMPTED)
    await log.put(APPLICATION_ID, TAKEN_OVER)
    await commands.settle(loaded, WORKER, 1, CLOSED, MINE)
    assert await log.history() == [*ATTEMPTED, TAKEN_OVER]
    await commands.settle(loaded, WORKER, 1, "SBX-1", MINE)
    assert isinstance((await log.history())[-2], JobApplied)


async def test_who_starts_it_again_works_under_the_new_start(commands: ApplicationCommands, log: RivalledLog) -> None:
    loaded = await loaded_from(commands, STARTED)
    started = await commands.start(loaded, WORKER, MINE)
    assert started.start == 2
    await commands.begin_attempt(started, WORKER, 1, "sandbox", Delivery.AT_LEAST_ONCE, documents_of(1))


async def test_a_retry_is_scheduled_once_also_when_it_is_told_twice(
    commands: ApplicationCommands, log: RivalledLog
) -> None:
    """As a worker does that did not learn whether the first was stored."""
    loaded = await loaded_from(commands, ATTEMPTED)
    await commands.pause(loaded, WORKER, [busy()], MINE)
    history = await log.history()
    await commands.pause(loaded, WORKER, [busy()], MINE)
    assert await log.history() == history


# -- a log that is away -----------------------------------------------------------------------------------------------

TROUBLE = [OutcomeUnknown("lost"), StoreUnavailable("away"), StoreTimeout("slow")]


@pytest.mark.parametrize("error", TROUBLE, ids=lambda error: type(error).__name__)
async def test_trouble_of_the_store_is_told_and_not_tried_again(
    commands: ApplicationCommands, log: RivalledLog, error: StoreError
) -> None:
    loaded = await loaded_from(commands, SUBMITTED)
    log.fails = [error]
    with pytest.raises(type(error)):
        await commands.start(loaded, WORKER, MINE)
    assert len(log.appends) == 1


async def test_an_attempt_with_an_unknown_outcome_is_no_permission_to_send(
    commands: ApplicationCommands, log: RivalledLog
) -> None:
    loaded = await loaded_from(commands, STARTED)
    log.fails = [OutcomeUnknown("lost")]
    with pytest.raises(OutcomeUnknown):
        await commands.begin_attempt(loaded, WORKER, 1, "sandbox", Delivery.AT_LEAST_ONCE, documents_of(1))


async def test_a_submission_whose_outcome_is_unknown_is_told_so(
    commands: ApplicationCommands, log: RivalledLog
) -> None:
    log.fails = [OutcomeUnknown("lost")]
    with pytest.raises(OutcomeUnknown):
        await commands.submit("ada", some_jobs(1), None, None, CAUSE)
    assert len(log.appends) == 1


# -- messages that no worker can act on -------------------------------------------------------------------------------

BODY = b"not json"
STREAM = message_stream("m-1", BODY)


def rejected(message_id: str | None = "m-1") -> MessageRejected:
    return MessageRejected(
        queue="application_processing_queue",
        message_id=message_id,
        application_id=None,
        reason="Not JSON",
        error_type="JSONDecodeError",
        **raw_parts(BODY),
    )


async def test_a_message_is_rejected_once_however_often_it_comes(
    commands: ApplicationCommands, log: RivalledLog
) -> None:
    for redelivered in (False, True, False):
        await commands.reject(STREAM, rejected(), WORKER, redelivered=redelivered)
    [recorded] = await log.read_stream(STREAM)
    assert (recorded.event, recorded.metadata.owner) == (rejected(), None)
    assert recorded.metadata.cause == WORKER


async def test_without_an_id_each_first_delivery_is_recorded(commands: ApplicationCommands, log: RivalledLog) -> None:
    stream = message_stream(None, BODY)
    for redelivered in (False, True, False):
        await commands.reject(stream, rejected(None), WORKER, redelivered=redelivered)
    assert await log.history(stream) == [rejected(None)] * 2


async def test_two_workers_that_reject_the_same_message_record_it_once(
    commands: ApplicationCommands, log: RivalledLog
) -> None:
    log.rivals = [[rejected()]]
    await commands.reject(STREAM, rejected(), WORKER, redelivered=False)
    assert await log.history(STREAM) == [rejected()]


async def test_ten_conflicts_of_a_rejection_are_overload(commands: ApplicationCommands, log: RivalledLog) -> None:
    stream = message_stream(None, BODY)
    log.rivals = [[rejected(None)] for _ in range(20)]
    with pytest.raises(Overloaded):
        await commands.reject(stream, rejected(None), WORKER, redelivered=False)
    assert len(log.appends) == CONFLICT_TRIES
