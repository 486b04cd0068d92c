"""Commands under an idempotency key: both are in the log, or neither (contract http.md 1.5)."""

from uuid import UUID

import pytest

from domain.appending import Appender, Guard
from domain.application_events import ApplicationSubmitted, Status
from domain.commands import ApplicationCommands, Loaded, Submitted
from domain.errors import ApplicationState, DuplicateRequest, OutcomeUnknown
from domain.idempotency import IdempotencyKey, KeyUsed, key_stream
from domain.ports import Append
from tests.builders import APPLICATION_ID, CAUSE, some_jobs
from tests.fakes.rivalled_log import RivalledLog
from tests.stories import ATTEMPTED, SUBMITTED
from tests.work import loaded_from

FAILED = ATTEMPTED.refused().failed()
KEY = key_stream("ada", "POST", "/applications", "k-1")
OURS, THEIRS = KeyUsed(content_hash="ours", status=200, body="mine"), KeyUsed(content_hash="ours", status=200, body="x")


def told_of_submission(submitted: Submitted) -> str:
    return submitted.application_id.hex


def told_of_retry(loaded: Loaded) -> str:
    return f"{loaded.application.id.hex} {loaded.application.status}"


async def key_of(log: RivalledLog, stream: UUID = KEY) -> IdempotencyKey:
    return IdempotencyKey.fold(stream, await log.read_stream(stream))


async def test_the_key_is_used_by_the_append_that_it_guards(commands: ApplicationCommands, log: RivalledLog) -> None:
    guard = Guard(IdempotencyKey(KEY), "hash", told_of_submission)
    submitted = await commands.submit("ada", some_jobs(1), None, None, CAUSE, guard)
    [append] = log.appends
    assert [type(one.event) for one in append.events] == [ApplicationSubmitted, KeyUsed]
    key = await key_of(log)
    assert key.used == KeyUsed(content_hash="hash", status=200, body=submitted.application_id.hex)
    assert (key.position, key.used_at) == (submitted.position, submitted.created_at)


async def test_of_two_uses_of_a_key_the_second_changes_nothing(commands: ApplicationCommands, log: RivalledLog) -> None:
    guard = Guard(IdempotencyKey(KEY), "hash", told_of_submission)
    await commands.submit("ada", some_jobs(1), None, None, CAUSE, guard)
    head = await log.head()
    with pytest.raises(DuplicateRequest):
        await commands.submit("ada", some_jobs(1), None, None, CAUSE, guard)
    assert await log.head() == head


async def test_an_expired_key_is_used_anew_in_its_own_stream(commands: ApplicationCommands, log: RivalledLog) -> None:
    await log.put(KEY, THEIRS)
    guard = Guard(await key_of(log), "hash", told_of_submission)
    submitted = await commands.submit("ada", some_jobs(1), None, None, CAUSE, guard)
    key = await key_of(log)
    assert key.version == 2
    assert key.used
    assert key.used.body == submitted.application_id.hex


async def test_a_retry_tells_the_state_that_it_made(commands: ApplicationCommands, log: RivalledLog) -> None:
    await loaded_from(commands, FAILED)
    retried = await commands.retry("ada", APPLICATION_ID, CAUSE, Guard(IdempotencyKey(KEY), "hash", told_of_retry))
    key = await key_of(log)
    assert key.used
    assert key.used.body == f"{APPLICATION_ID.hex} pending"
    assert key.position == retried.position


async def test_a_retry_that_another_with_the_same_key_overtook_is_a_duplicate(
    commands: ApplicationCommands, log: RivalledLog
) -> None:
    await loaded_from(commands, FAILED)
    guard = Guard(IdempotencyKey(KEY), "hash", told_of_retry)
    await log.put(KEY, THEIRS)
    with pytest.raises(DuplicateRequest):
        await commands.retry("ada", APPLICATION_ID, CAUSE, guard)
    assert (await commands.find("ada", APPLICATION_ID)).application.status is Status.FAILED


async def test_a_retry_that_one_without_the_key_overtook_is_refused_and_leaves_the_key_free(
    commands: ApplicationCommands, log: RivalledLog
) -> None:
    await loaded_from(commands, FAILED)
    log.rivals = [[FAILED.retried().events[-1]]]
    with pytest.raises(ApplicationState):
        await commands.retry("ada", APPLICATION_ID, CAUSE, Guard(IdempotencyKey(KEY), "hash", told_of_retry))
    assert not (await key_of(log)).version


async def test_an_unknown_outcome_is_no_duplicate(commands: ApplicationCommands, log: RivalledLog) -> None:
    await loaded_from(commands, SUBMITTED)
    log.fails = [OutcomeUnknown("the commit")]
    with pytest.raises(OutcomeUnknown):
        await commands.submit("ada", some_jobs(1), None, None, CAUSE, Guard(IdempotencyKey(KEY), "h", lambda _: ""))


async def test_a_key_alone_is_used_once(commands: ApplicationCommands, log: RivalledLog) -> None:
    appender = Appender(log, commands.clock)
    guard: Guard[None] = Guard(IdempotencyKey(KEY), "ours", lambda _: "mine")
    position = await appender.use_alone(None, guard, CAUSE)
    assert (await key_of(log)).used == OURS
    assert (await key_of(log)).position == position
    with pytest.raises(DuplicateRequest):
        await appender.use_alone(None, guard, CAUSE)


async def test_what_has_no_key_is_appended_as_it_is(commands: ApplicationCommands, log: RivalledLog) -> None:
    events = SUBMITTED.recorded()
    assert await Appender(log, commands.clock).append(events, None, None) == await log.head()
    assert log.appends == [Append(events)]


# -- an operator's retry of a failure ---------------------------------------------------------------------------------


async def test_a_failure_is_retried_by_the_letter_that_tells_of_it(
    commands: ApplicationCommands, log: RivalledLog
) -> None:
    loaded = await loaded_from(commands, FAILED)
    failed_version = loaded.application.version
    retried = await commands.retry_failure(APPLICATION_ID, failed_version, CAUSE)
    assert retried
    assert (retried.application.status, retried.position) == (Status.PENDING, await log.head())
    assert await commands.retry_failure(APPLICATION_ID, failed_version, CAUSE) is None
    assert await log.head() == retried.position


async def test_a_failure_that_was_retried_at_that_moment_is_left_alone(
    commands: ApplicationCommands, log: RivalledLog
) -> None:
    loaded = await loaded_from(commands, FAILED)
    log.rivals = [[FAILED.retried().events[-1]]]
    assert await commands.retry_failure(APPLICATION_ID, loaded.application.version, CAUSE) is None
    assert await log.history() == list(FAILED.retried())


async def test_what_is_no_failure_of_ours_is_not_retried(commands: ApplicationCommands) -> None:
    loaded = await loaded_from(commands, FAILED)
    assert await commands.retry_failure(APPLICATION_ID, loaded.application.version - 1, CAUSE) is None
    assert await commands.retry_failure(KEY, 1, CAUSE) is None
