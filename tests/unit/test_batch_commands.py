"""The commands of a batch, when others come first or the log is away (design 4)."""

import pytest

from domain.application_events import ApplicationCancelled, ProcessingStarted, Status
from domain.batch_commands import BatchCommands, Item, SubmittedBatch
from domain.commands import CONFLICT_TRIES, ApplicationCommands
from domain.errors import ApplicationAlreadyProcessed, BatchNotFound, Overloaded, StoreUnavailable
from domain.event import Owner
from tests.builders import CAUSE, CV, START, some_jobs
from tests.fakes.clock import FakeClock
from tests.fakes.rivalled_log import RivalledLog

STARTED = ProcessingStarted(start=1, previous=Status.PENDING)


@pytest.fixture
def batches(log: RivalledLog, clock: FakeClock) -> BatchCommands:
    return BatchCommands(log, clock)


async def submitted(batches: BatchCommands, count: int = 3) -> SubmittedBatch:
    return await batches.submit("ada", [Item(some_jobs(2), "modern")] * count, CV, CAUSE)


async def statuses(commands: ApplicationCommands, batch: SubmittedBatch) -> list[Status]:
    return [(await commands.find("ada", id)).application.status for id in batch.application_ids]


async def test_a_batch_is_one_append_and_each_event_names_its_owner(batches: BatchCommands, log: RivalledLog) -> None:
    batch = await submitted(batches)
    [append] = log.appends
    *items, last = append.events
    assert [one.stream_id for one in items] == list(batch.application_ids)
    assert [one.owner for one in items] == [Owner("ada", 2, START, batch.batch_id, n) for n in range(3)]
    assert last.owner == Owner("ada", 6, START, batch.batch_id)
    assert {one.metadata.cause.causation_id for one in items} == {last.metadata.event_id.hex}
    assert last.metadata.cause == CAUSE


async def test_a_batch_that_could_not_be_stored_is_not_there(batches: BatchCommands, log: RivalledLog) -> None:
    log.fails = [StoreUnavailable("away")]
    with pytest.raises(StoreUnavailable):
        await submitted(batches)
    assert await log.head() == 0


async def test_a_cancel_that_a_worker_overtook_takes_back_the_others(
    batches: BatchCommands, commands: ApplicationCommands, log: RivalledLog
) -> None:
    batch = await submitted(batches)
    log.rivals = [[STARTED]]
    cancelled = await batches.cancel("ada", batch.batch_id, CAUSE)
    assert cancelled.cancelled == 2
    assert await statuses(commands, batch) == [Status.PROCESSING, Status.CANCELLED, Status.CANCELLED]
    assert [type(one.event) for one in log.appends[-1].events[:-1]] == [ApplicationCancelled] * 2


async def test_a_cancel_that_is_overtaken_each_time_changes_nothing(
    batches: BatchCommands, commands: ApplicationCommands, log: RivalledLog
) -> None:
    batch = await submitted(batches, CONFLICT_TRIES + 1)
    log.rivals = [[STARTED]] * CONFLICT_TRIES
    with pytest.raises(Overloaded):
        await batches.cancel("ada", batch.batch_id, CAUSE)
    assert await statuses(commands, batch) == [*[Status.PROCESSING] * CONFLICT_TRIES, Status.PENDING]


async def test_a_batch_is_cancelled_once_until_an_item_is_retried(
    batches: BatchCommands, commands: ApplicationCommands, log: RivalledLog
) -> None:
    batch = await submitted(batches, 2)
    await log.put(batch.application_ids[0], STARTED)
    assert (await batches.cancel("ada", batch.batch_id, CAUSE)).cancelled == 1
    with pytest.raises(ApplicationAlreadyProcessed):
        await batches.cancel("ada", batch.batch_id, CAUSE)


async def test_anothers_batch_is_unknown_and_so_is_an_application(batches: BatchCommands) -> None:
    batch = await submitted(batches)
    for user, id in (("bob", batch.batch_id), ("ada", batch.application_ids[0])):
        with pytest.raises(BatchNotFound):
            await batches.cancel(user, id, CAUSE)
