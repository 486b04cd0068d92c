"""Appends that wait at the same moment share one commit (design 5).

One commit costs a sync to disk, so a single writer in each process takes all appends that wait, at most `batch_max`
events and 4 MiB of them, and commits them in one transaction; meanwhile the next ones gather. A larger one goes alone.
Nobody is answered before the commit is durable.

Of one group, who conflicts or wants a claim that another holds is refused alone: first all go in by one statement; if
that meets a conflict, the transaction begins anew and each goes in behind a savepoint of its own.

When the connection is lost inside the commit, its outcome is not known. The log itself is the authority: under its
lock, which is only given when the lost transaction has ended, the writer looks for the ids of its own events. Found:
it was stored. Another's event in that place: a conflict. Nothing: it was not stored. While it cannot look, the outcome
stays unknown, and the caller is told so. A kill before the commit leaves nothing, after it everything; who got no
answer cannot tell, and asks again with the same idempotency key.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from eventsourcing.persistence import StoredEvent

from domain.errors import (
    ClaimedElsewhere,
    Conflict,
    OutcomeUnknown,
    Overloaded,
    StoreError,
    StoreTimeout,
    StoreUnavailable,
)
from domain.ports import Claim
from infra import leases, tracing
from infra.log_database import AppendSession, CommitUncertain, LogAdapter
from infra.mapper import EventMapper
from infra.tracing import Span

logger = logging.getLogger(__name__)

BYTES_MAX = 4 * 1024 * 1024
WAITING_MAX = 5_000  # appends; more are refused as overload
WAITING_BYTES_MAX = 256 * 1024 * 1024
LOOK_TRIES, LOOK_PAUSE_SECONDS = 5, 1.0
ANSWER_SECONDS = 10.0  # for one commit; who waits for it, and behind it, is told then that the store hangs

Result = int | Exception  # the position of an append's last event, or why it was refused


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """An append that waits for its commit."""

    events: Sequence[StoredEvent]
    take: Claim | None
    release: Claim | None
    answer: asyncio.Future[int]
    size: int  # bytes
    span: Span  # of who waits


@dataclass(slots=True)
class GroupCommit:
    """The one writer of this process. Used as an async context manager: at the end, what waits is still committed."""

    adapter: LogAdapter
    mapper: EventMapper
    batch_max: int
    sleep: Callable[[float], None] = time.sleep  # in the writer's thread
    _waiting: deque[Waiting] = field(default_factory=deque)
    _waiting_bytes: int = 0
    _closed: bool = False
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "event-log-writer"))
    _writer: asyncio.Task[None] | None = None
    _watchdog: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> "GroupCommit":
        self._writer = asyncio.create_task(self._write_all(), name="event-log-writer")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        self._wake.set()
        if self._writer is not None:
            await self._writer
        self._thread.shutdown(wait=False)

    async def append(self, events: Sequence[StoredEvent], take: Claim | None, release: Claim | None) -> int:
        """What `EventLog.append` promises."""
        size = sum(len(event.state) for event in events)
        if self._closed or len(self._waiting) >= WAITING_MAX or self._waiting_bytes + size > WAITING_BYTES_MAX:
            raise Overloaded("Too much waits to be stored")
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(events, take, release, answer, size, tracing.current()))
        self._waiting_bytes += size
        self._wake.set()
        return await answer

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting or not self._closed:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            group = self._next_group()
            self._watchdog = loop.call_later(ANSWER_SECONDS, self._give_up, group)
            try:
                with tracing.shared("group commit", [waiting.span for waiting in group]) as span:
                    span.set({"app_manager.appends": len(group)})
                    results = await loop.run_in_executor(self._thread, self._commit, group)
                    span.set({"app_manager.refused": sum(isinstance(result, Exception) for result in results)})
            except Exception as error:  # a fault of ours must not stop the writer: nobody else would answer
                logger.exception("append failed", extra={"event_type": "append_failed"})
                results = [error] * len(group)
            self._watchdog.cancel()
            for waiting, result in zip(group, results, strict=True):
                _answer(waiting.answer, result)

    def _give_up(self, group: Sequence[Waiting]) -> None:
        """The store hangs inside a commit: nobody waits any longer for what he cannot be told."""
        for waiting in group:
            _answer(waiting.answer, OutcomeUnknown("The event store did not answer in time"))
        while self._waiting:
            _answer(self._waiting.popleft().answer, StoreTimeout("The event store did not answer in time"))
        self._waiting_bytes = 0
        self._watchdog = asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._give_up, group)

    def _next_group(self) -> Sequence[Waiting]:
        group = [self._waiting.popleft()]
        events, size = len(group[0].events), group[0].size
        while self._waiting:
            events += len(self._waiting[0].events)
            size += self._waiting[0].size
            if events > self.batch_max or size > BYTES_MAX:
                break
            group.append(self._waiting.popleft())
        self._waiting_bytes -= sum(waiting.size for waiting in group)
        return group

    # -- in the writer's thread ---------------------------------------------------------------------------------------

    def _commit(self, group: Sequence[Waiting]) -> Sequence[Result]:
        try:
            results = self._commit_together(group)
        except Conflict:
            results = self._guarded(group, one_by_one=True)
        except (StoreError, CommitUncertain) as error:
            results = self._after_failure(group, error)
        self.sleep(self.adapter.pause_after_commit)
        return results

    def _guarded(self, group: Sequence[Waiting], *, one_by_one: bool) -> Sequence[Result]:
        try:
            return self._commit_one_by_one(group) if one_by_one else self._commit_together(group)
        except (StoreError, CommitUncertain) as error:
            return self._after_failure(group, error)

    def _after_failure(self, group: Sequence[Waiting], error: Exception) -> Sequence[Result]:
        if isinstance(error, CommitUncertain):
            return self._find_out(group)
        return [error] * len(group)

    def _commit_together(self, group: Sequence[Waiting]) -> Sequence[Result]:
        """Raises Conflict when any of them conflicts: then nothing was stored."""
        with self.adapter.appending() as session:
            results: list[Result] = [_claimed_elsewhere(session, waiting) or 0 for waiting in group]
            accepted = [waiting for waiting, result in zip(group, results, strict=True) if result == 0]
            positions = iter(session.insert([event for waiting in accepted for event in waiting.events]))
            leases.release(session, [waiting.release for waiting in accepted if waiting.release])
            for index, waiting in enumerate(group):
                if results[index] == 0:
                    results[index] = [next(positions) for _ in waiting.events][-1]
        return results

    def _commit_one_by_one(self, group: Sequence[Waiting]) -> Sequence[Result]:
        with self.adapter.appending() as session:
            return [_append_alone(session, waiting) for waiting in group]

    def _find_out(self, group: Sequence[Waiting]) -> Sequence[Result]:
        for attempt in range(LOOK_TRIES):
            if attempt:
                self.sleep(LOOK_PAUSE_SECONDS)
            try:
                with self.adapter.appending():
                    return [self._what_became_of(waiting) for waiting in group]
            except (StoreError, CommitUncertain):
                continue
        return [OutcomeUnknown("The event store was lost inside a commit")] * len(group)

    def _what_became_of(self, waiting: Waiting) -> Result:
        """Under the log's lock: the lost transaction has ended, so what is not there now will never be."""
        streams = {event.originator_id for event in waiting.events}
        stored = {
            (event.originator_id, event.originator_version): (event, position)
            for event, position in self.adapter.select_streams([str(id).replace("-", "") for id in streams])
        }
        first, last = waiting.events[0], waiting.events[-1]
        there = stored.get((first.originator_id, first.originator_version))
        if there is None:
            return StoreUnavailable("The event store was lost before the commit")
        if self.mapper.event_id(there[0].state) != self.mapper.event_id(first.state):
            return Conflict("Another append came first")
        return stored[last.originator_id, last.originator_version][1]


def _claimed_elsewhere(session: AppendSession, waiting: Waiting) -> ClaimedElsewhere | None:
    if waiting.take is None or leases.take(session, waiting.take):
        return None
    return ClaimedElsewhere(f"{waiting.take.name} is claimed by another")


def _append_alone(session: AppendSession, waiting: Waiting) -> Result:
    try:
        with session.savepoint():
            if refused := _claimed_elsewhere(session, waiting):
                return refused
            position = session.insert(waiting.events)[-1]
            leases.release(session, [waiting.release] if waiting.release else [])
            return position
    except Conflict as conflict:
        return conflict


def _answer(future: asyncio.Future[int], result: Result) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
