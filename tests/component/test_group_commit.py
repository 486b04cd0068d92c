"""When a commit's outcome is not known, the writer finds it out from the log itself."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from domain.errors import Conflict, OutcomeUnknown, Overloaded, StoreTimeout, StoreUnavailable
from domain.ports import Claim
from infra import group_commit, leases
from infra.group_commit import GroupCommit
from infra.log_database import AppendSession, CommitUncertain
from infra.mapper import EventMapper
from infra.sqlite_log import SqliteLog
from tests.contract.test_event_log import event

MAPPER = EventMapper()


class Lossy(SqliteLog):
    """A log whose connection is lost inside a commit, which was done or was not."""

    lost: tuple[bool, ...] = ()  # for each of the next appends: whether its commit was done all the same
    away = False

    @contextmanager
    def appending(self) -> Iterator[AppendSession]:  # type: ignore[override]
        if self.away:
            raise StoreUnavailable("away")
        lost, self.lost = self.lost[:1], self.lost[1:]
        if not lost:
            with super().appending() as session:
                yield session
            return
        try:
            with super().appending() as session:
                yield session
                if not lost[0]:
                    raise RuntimeError("rolled back")
        except RuntimeError:
            pass
        self.away = self.always_away_after
        raise CommitUncertain

    always_away_after = False


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Lossy]:
    adapter = Lossy(tmp_path / "events.db", 2)
    adapter.open()
    with adapter.writing() as session:
        session.execute(*leases.CREATE)
    yield adapter
    adapter.close()


async def append(log: Lossy, *versions: tuple[UUID, int]) -> int:
    async with GroupCommit(log, MAPPER, 256) as writer:
        stored = [MAPPER.to_stored_event(event(stream, version)) for stream, version in versions]
        return await writer.append(stored, None, None)


async def head(log: Lossy) -> int:
    return await asyncio.to_thread(log.head)


def claimed_names(log: Lossy) -> list[tuple[str]]:
    with log.writing() as session:
        return session.execute("SELECT name FROM leases")


async def test_a_commit_that_was_done_is_found(log: Lossy) -> None:
    stream = uuid4()
    log.lost = (True,)
    assert await append(log, (stream, 1), (stream, 2)) == await head(log) == 2


async def test_a_commit_that_was_not_done_is_told(log: Lossy) -> None:
    log.lost = (False,)
    with pytest.raises(StoreUnavailable):
        await append(log, (uuid4(), 1))
    assert await head(log) == 0


async def test_another_append_in_that_place_is_a_conflict(log: Lossy) -> None:
    stream = uuid4()
    await append(log, (stream, 1))
    log.lost = (False,)
    with pytest.raises(Conflict):
        await append(log, (stream, 1))


async def test_while_it_cannot_look_the_outcome_stays_unknown(log: Lossy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "LOOK_PAUSE_SECONDS", 0.01)
    log.lost, log.always_away_after = (True,), True
    with pytest.raises(OutcomeUnknown):
        await append(log, (uuid4(), 1))


async def test_a_claim_and_its_append_are_one(log: Lossy) -> None:
    stream = uuid4()
    log.lost = (False,)
    async with GroupCommit(log, MAPPER, 256) as writer:
        stored = [MAPPER.to_stored_event(event(stream, 1))]
        with pytest.raises(StoreUnavailable):
            await writer.append(stored, Claim("name", "me", 30), None)
    assert await asyncio.to_thread(claimed_names, log) == []


async def test_too_much_that_waits_is_refused(log: Lossy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "WAITING_MAX", 3)
    async with GroupCommit(log, MAPPER, 256) as writer:
        appends = [writer.append([MAPPER.to_stored_event(event(uuid4(), 1))], None, None) for _ in range(10)]
        results = await asyncio.gather(*appends, return_exceptions=True)
    assert sum(isinstance(result, Overloaded) for result in results) == 7
    assert await head(log) == 3


async def test_a_store_that_hangs_keeps_nobody_waiting(log: Lossy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "ANSWER_SECONDS", 0.2)
    locked, done = threading.Event(), threading.Event()

    def hold_the_lock() -> None:
        with log.writing():
            locked.set()
            done.wait(5)

    holding = asyncio.create_task(asyncio.to_thread(hold_the_lock))
    await asyncio.to_thread(locked.wait)
    async with GroupCommit(log, MAPPER, 1) as writer:
        appends = [writer.append([MAPPER.to_stored_event(event(uuid4(), 1))], None, None) for _ in range(2)]
        under_way, behind = await asyncio.gather(*appends, return_exceptions=True)
        done.set()
        await holding
    assert isinstance(under_way, OutcomeUnknown)
    assert isinstance(behind, StoreTimeout)
    assert await head(log) == 1  # the one under way was stored after all


async def test_what_waits_at_the_end_is_still_committed(log: Lossy) -> None:
    async with GroupCommit(log, MAPPER, 1) as writer:
        appends = [
            asyncio.create_task(writer.append([MAPPER.to_stored_event(event(uuid4(), 1))], None, None))
            for _ in range(20)
        ]
        await asyncio.sleep(0)  # they wait for the writer now
    await asyncio.gather(*appends)
    assert await head(log) == 20


async def test_nothing_is_accepted_after_the_end(log: Lossy) -> None:
    async with GroupCommit(log, MAPPER, 1) as writer:
        pass
    with pytest.raises(Overloaded):
        await writer.append([MAPPER.to_stored_event(event(uuid4(), 1))], None, None)
