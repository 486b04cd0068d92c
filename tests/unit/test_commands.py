"""Load, decide, append: what gets into the log, with whose name on it, under which claim."""

from dataclasses import replace

import pytest
from eventsourcing.persistence import StoredEvent

from domain.application import Application
from domain.application_events import Delivery, Failure, RetryScheduled, Status
from domain.commands import ApplicationCommands
from domain.errors import ApplicationAlreadyProcessed, ApplicationNotFound, ClaimedElsewhere
from domain.event import Cause, Owner, RecordedEvent
from domain.ports import Append
from infra.mapper import EventMapper
from tests.builders import APPLICATION_ID, CAUSE, CV, START, a_batch, documents_of, some_jobs
from tests.fakes.clock import FakeClock
from tests.fakes.rivalled_log import RivalledLog
from tests.stories import ATTEMPTED, CLOSED, STARTED, SUBMITTED, TWO_STARTED
from tests.work import MINE, WORKER, YOURS, busy, loaded_from


def as_read_back(recorded: RecordedEvent) -> RecordedEvent:
    """Through the bytes that a real log keeps."""
    mapper = EventMapper()
    stored = mapper.to_stored_event(recorded)
    bytes_only = StoredEvent(stored.originator_id, stored.originator_version, stored.topic, bytes(stored.state))
    return mapper.to_recorded_event(bytes_only, recorded.position)


# -- submit -----------------------------------------------------------------------------------------------------------


async def test_a_submission_is_in_the_log_when_it_is_answered(commands: ApplicationCommands, log: RivalledLog) -> None:
    submitted = await commands.submit("ada", some_jobs(2), "modern", CV, CAUSE)
    [recorded] = await log.read_stream(submitted.application_id)
    assert [recorded.event] == Application(submitted.application_id).submit(some_jobs(2), "modern", CV)
    assert (submitted.job_count, submitted.created_at, submitted.position) == (2, START, recorded.position)
    assert recorded.version == 1


async def test_each_submission_is_an_application_of_its_own(commands: ApplicationCommands) -> None:
    first = await commands.submit("ada", some_jobs(1), None, None, CAUSE)
    second = await commands.submit("ada", some_jobs(1), None, None, CAUSE)
    assert first.application_id != second.application_id


async def test_what_is_read_back_names_the_cause_that_was_given(
    commands: ApplicationCommands, log: RivalledLog
) -> None:
    submitted = await commands.submit("ada", some_jobs(2), None, None, CAUSE)
    [recorded] = map(as_read_back, await log.read_stream(submitted.application_id))
    assert recorded.metadata.cause == Cause(
        actor="user:ada",
        correlation_id="correlation-1",
        causation_id="request-1",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    assert recorded.owner == Owner("ada", 2, START)
    assert recorded.metadata.at == START


# -- whose it is ------------------------------------------------------------------------------------------------------


async def test_a_user_finds_his_own(commands: ApplicationCommands) -> None:
    await loaded_from(commands, STARTED)
    found = await commands.find("ada", APPLICATION_ID)
    assert found.application == STARTED.application
    assert (found.position, found.last_at) == (2, STARTED.recorded()[-1].metadata.at)
    assert found.correlation_id == CAUSE.correlation_id


async def test_anothers_looks_like_an_unknown_one(commands: ApplicationCommands) -> None:
    with pytest.raises(ApplicationNotFound) as unknown:
        await commands.find("bob", APPLICATION_ID)
    await loaded_from(commands, SUBMITTED)
    with pytest.raises(ApplicationNotFound) as foreign:
        await commands.find("bob", APPLICATION_ID)
    assert str(foreign.value) == str(unknown.value)


async def test_nobody_changes_anothers(commands: ApplicationCommands, log: RivalledLog) -> None:
    await loaded_from(commands, STARTED.refused().failed())
    for change in (commands.retry, commands.cancel):
        with pytest.raises(ApplicationNotFound):
            await change("bob", APPLICATION_ID, CAUSE)
    assert log.appends == []


async def test_a_stream_that_is_none_of_an_application_is_not_found(
    commands: ApplicationCommands, log: RivalledLog
) -> None:
    batch = a_batch()
    await log.append(Append(batch.recorded()))
    assert await commands.load(batch.id) is None
    with pytest.raises(ApplicationNotFound):
        await commands.find("ada", batch.id)


async def test_an_unknown_one_loads_as_nothing(commands: ApplicationCommands) -> None:
    assert await commands.load(APPLICATION_ID) is None


# -- what an append says of its cause ---------------------------------------------------------------------------------


async def test_what_a_worker_appends_names_worker_message_and_owner(
    commands: ApplicationCommands, log: RivalledLog, clock: FakeClock
) -> None:
    loaded = await loaded_from(commands, SUBMITTED)
    clock.advance(60)
    after = await commands.start(loaded, WORKER, MINE)
    started = as_read_back((await log.read_stream(APPLICATION_ID))[-1])
    assert (started.metadata.cause.actor, started.metadata.cause.causation_id) == ("worker:w-1", "message-1")
    assert started.owner == SUBMITTED.recorded()[0].owner
    assert started.metadata.at == clock.now() == after.last_at


async def test_what_has_no_request_of_its_own_keeps_the_first_ones_correlation(
    commands: ApplicationCommands, log: RivalledLog
) -> None:
    await commands.start(await loaded_from(commands, SUBMITTED), WORKER, MINE)
    assert (await log.read_stream(APPLICATION_ID))[-1].metadata.cause.correlation_id == "correlation-1"


async def test_a_request_of_its_own_is_named(commands: ApplicationCommands, log: RivalledLog) -> None:
    await loaded_from(commands, STARTED.refused().failed())
    await commands.retry("ada", APPLICATION_ID, Cause("user:ada", "correlation-2"))
    assert (await log.read_stream(APPLICATION_ID))[-1].metadata.cause == Cause("user:ada", "correlation-2")


async def test_each_event_of_an_append_has_an_id_of_its_own(commands: ApplicationCommands, log: RivalledLog) -> None:
    loaded = await loaded_from(commands, ATTEMPTED)
    await commands.settle(loaded, WORKER, 1, "SBX-1", MINE)
    recorded = await log.read_stream(APPLICATION_ID)
    assert len({one.metadata.event_id for one in recorded}) == len(recorded)
    assert len({one.metadata.at for one in recorded[-2:]}) == 1


async def test_a_batch_item_keeps_its_place_in_every_event(commands: ApplicationCommands, log: RivalledLog) -> None:
    item = a_batch(2).items[1]
    await log.append(Append(item.recorded()))
    loaded = await commands.load(item.id)
    assert loaded is not None
    await commands.start(loaded, WORKER, replace(MINE, name=item.id.hex))
    assert (await log.read_stream(item.id))[-1].owner == item.owner


# -- by users ---------------------------------------------------------------------------------------------------------


async def test_a_retry_answers_with_the_position_that_it_got(commands: ApplicationCommands, log: RivalledLog) -> None:
    await loaded_from(commands, STARTED.refused().failed())
    loaded = await commands.retry("ada", APPLICATION_ID, CAUSE)
    assert loaded.application.status is Status.PENDING
    assert loaded.position == await log.head()


async def test_a_cancel_of_a_pending_one(commands: ApplicationCommands, log: RivalledLog) -> None:
    await loaded_from(commands, SUBMITTED)
    loaded = await commands.cancel("ada", APPLICATION_ID, CAUSE)
    assert loaded.application.status is Status.CANCELLED
    assert await log.history() == list(SUBMITTED.cancelled())


async def test_what_is_refused_changes_nothing(commands: ApplicationCommands, log: RivalledLog) -> None:
    await loaded_from(commands, STARTED.applied().succeeded())
    for change in (commands.retry, commands.cancel):
        with pytest.raises(ApplicationAlreadyProcessed):
            await change("ada", APPLICATION_ID, CAUSE)
    assert log.appends == []


# -- start, under a claim ---------------------------------------------------------------------------------------------


async def test_a_start_takes_its_claim_in_the_same_append(commands: ApplicationCommands, log: RivalledLog) -> None:
    started = await commands.start(await loaded_from(commands, SUBMITTED), WORKER, MINE)
    assert (started.application.status, started.start) == (Status.PROCESSING, 1)
    assert [append.take for append in log.appends] == [MINE]
    assert await log.claims.held([MINE.name]) == {MINE.name}


async def test_what_another_worker_has_is_not_started(commands: ApplicationCommands, log: RivalledLog) -> None:
    loaded = await loaded_from(commands, STARTED, YOURS)
    with pytest.raises(ClaimedElsewhere):
        await commands.start(loaded, WORKER, MINE)
    assert await log.history() == list(STARTED)


async def test_what_has_ended_is_not_claimed(commands: ApplicationCommands, log: RivalledLog) -> None:
    loaded = await loaded_from(commands, SUBMITTED.cancelled())
    assert await commands.start(loaded, WORKER, MINE) == loaded
    assert (log.appends, await log.claims.held([MINE.name])) == ([], set())


async def test_a_start_that_ends_it_leaves_no_claim(commands: ApplicationCommands, log: RivalledLog) -> None:
    """So that a person's retry need not wait until it has run out."""
    loaded = await loaded_from(commands, STARTED.attempted_blind())
    ended = await commands.start(loaded, WORKER, MINE)
    assert ended.application.status is Status.FAILED
    assert await log.claims.held([MINE.name]) == set()


# -- work under a start -----------------------------------------------------------------------------------------------


async def test_an_attempt_begins_in_the_log(commands: ApplicationCommands, log: RivalledLog) -> None:
    loaded = await loaded_from(commands, STARTED)
    begun = await commands.begin_attempt(loaded, WORKER, 1, "sandbox", Delivery.AT_LEAST_ONCE, documents_of(1))
    assert await log.history() == list(STARTED.attempted())
    assert begun.application == STARTED.attempted().application


async def test_the_last_result_gives_the_claim_back_with_the_end(
    commands: ApplicationCommands, log: RivalledLog
) -> None:
    loaded = await loaded_from(commands, ATTEMPTED, MINE)
    await commands.settle(loaded, WORKER, 1, "SBX-1", MINE)
    assert await log.history() == list(ATTEMPTED.applied().succeeded())
    assert [append.release for append in log.appends] == [MINE]
    assert await log.claims.held([MINE.name]) == set()


async def test_a_result_before_the_last_keeps_the_claim(commands: ApplicationCommands, log: RivalledLog) -> None:
    loaded = await loaded_from(commands, TWO_STARTED.attempted(1, 2), MINE)
    await commands.settle(loaded, WORKER, 1, CLOSED, MINE)
    assert await log.history() == list(TWO_STARTED.attempted(1, 2).refused(1))
    assert await log.claims.held([MINE.name]) == {MINE.name}


async def test_a_retry_that_is_scheduled_gives_the_claim_back(
    commands: ApplicationCommands, log: RivalledLog, clock: FakeClock
) -> None:
    loaded = await loaded_from(commands, ATTEMPTED, MINE)
    clock.advance(60)
    paused = await commands.pause(loaded, WORKER, [busy()], MINE)
    [*_, event] = await log.history()
    assert isinstance(event, RetryScheduled)
    assert (event.due_at - clock.now()).total_seconds() == 1
    assert paused.application.status is Status.PROCESSING
    assert await log.claims.held([MINE.name]) == set()


async def test_attempts_that_are_exhausted_give_the_claim_back(commands: ApplicationCommands, log: RivalledLog) -> None:
    story = ATTEMPTED.retry_scheduled().started().retry_scheduled().started().attempted()
    loaded = await loaded_from(commands, story, MINE)
    ended = await commands.pause(loaded, WORKER, [busy()], MINE)
    assert ended.application.status is Status.FAILED
    assert await log.claims.held([MINE.name]) == set()


async def test_nobody_gives_back_anothers_claim(commands: ApplicationCommands, log: RivalledLog) -> None:
    loaded = await loaded_from(commands, ATTEMPTED, YOURS)
    await commands.settle(loaded, WORKER, 1, "SBX-1", MINE)
    assert await log.claims.held([YOURS.name]) == {YOURS.name}


async def test_what_changes_nothing_appends_nothing(commands: ApplicationCommands, log: RivalledLog) -> None:
    loaded = await loaded_from(commands, STARTED.applied().succeeded())
    assert await commands.settle(loaded, WORKER, 1, "SBX-2", MINE) == loaded
    assert await commands.pause(loaded, WORKER, [busy()], MINE) == loaded
    assert log.appends == []


async def test_a_verdict_is_recorded_as_it_is(commands: ApplicationCommands, log: RivalledLog) -> None:
    loaded = await loaded_from(commands, ATTEMPTED)
    settled = await commands.settle(loaded, WORKER, 1, CLOSED, MINE)
    failed = settled.application.jobs[0].failed
    assert failed is not None
    assert (failed.failure, failed.reason, failed.error_type) == (Failure.REFUSED, CLOSED.reason, CLOSED.error_type)
