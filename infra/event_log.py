"""The event log: SQLite or PostgreSQL by its URL, with leases and room beside it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from domain.errors import StoreTimeout, StoreUnavailable
from domain.event import RecordedEvent
from domain.ports import Append, Claims, EventLog
from infra import leases, tracing
from infra.coalesce import Coalescer
from infra.group_commit import GroupCommit
from infra.log_database import CommitUncertain, LogAdapter, LogDatabase, Session, StoredAt
from infra.log_times import position_at
from infra.mapper import EventMapper
from infra.positions import Head, HeadPosition
from infra.postgres_log import PostgresLog
from infra.sqlite_log import SqliteLog
from infra.tracing import Kind

T = TypeVar("T")

READ_SECONDS = 15.0  # no read waits longer
STREAMS_AT_ONCE = 100
UNCERTAIN_TRIES = 3


@dataclass(frozen=True, slots=True)
class EventStore:
    """The log and what is kept beside it, open."""

    log: EventLog
    claims: Claims
    database: LogDatabase
    stored: "StoredEvents"

    async def ping(self) -> None:
        """Raises a StoreError when the store does not answer."""
        await self.log.head()


@asynccontextmanager
async def open_event_log(url: str, *, pool_size: int = 8, batch_max: int = 256) -> AsyncIterator[EventStore]:
    """Opens `sqlite:///PATH` or `postgresql://...` and makes what tables are missing.

    `pool_size` bounds the connections that read, `batch_max` the events that share a commit.
    Raises ValueError for another URL, StoreUnavailable when it cannot be reached.
    """
    async with open_adapter(log_adapter(url, pool_size), pool_size=pool_size, batch_max=batch_max) as opened:
        yield opened


@asynccontextmanager
async def open_adapter(
    adapter: LogAdapter,
    *,
    pool_size: int,
    batch_max: int,
    head_of: Callable[[LogAdapter], AbstractAsyncContextManager[Head]] = HeadPosition,
    sleep: Callable[[float], None] = time.sleep,
) -> AsyncIterator[EventStore]:
    """The same over a database of any kind. `sleep` is called in the writer's thread."""
    calls = _Calls(ThreadPoolExecutor(pool_size, "event-log"))
    try:
        await calls.run(adapter.open)
    except BaseException:
        calls.end()
        raise
    try:
        database = _Database(adapter, calls)
        await database.create(leases.CREATE)
        mapper = EventMapper()
        async with GroupCommit(adapter, mapper, batch_max, sleep) as writer, head_of(adapter) as head:
            log = _Log(adapter, mapper, writer, head, calls)
            yield EventStore(log, leases.Leases(database), database, StoredEvents(adapter, calls))
    finally:
        await calls.run(adapter.close)
        calls.end()


def log_adapter(url: str, pool_size: int) -> LogAdapter:
    """The adapter for a URL, not yet open. Raises ValueError for another one."""
    kind, _, rest = url.partition("://")
    if kind == "sqlite" and rest.startswith("/") and len(rest) > 1:
        return SqliteLog(Path(rest[1:]), pool_size)
    if kind in {"postgresql", "postgres"}:
        return PostgresLog(url, pool_size)
    raise ValueError("EVENT_STORE must be sqlite:///PATH or postgresql://user:password@host:port/database")


class _Calls:
    """Blocking calls in threads of their own, each with an end."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads

    def end(self) -> None:
        """The threads end with their last call; nobody waits for one that hangs."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, call: Callable[[], T]) -> T:
        """Raises StoreTimeout after `READ_SECONDS`; the thread then ends by the database's own limits."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except TimeoutError:
            raise StoreTimeout("The event store did not answer in time") from None


class _Log:
    """`domain.ports.EventLog` over an adapter."""

    def __init__(
        self, adapter: LogAdapter, mapper: EventMapper, writer: GroupCommit, head: Head, calls: _Calls
    ) -> None:
        self._adapter, self._mapper, self._writer, self._head, self._calls = adapter, mapper, writer, head, calls
        self._streams: Coalescer[UUID, Sequence[StoredAt]] = Coalescer(
            self._read_streams, most=STREAMS_AT_ONCE, name="read stream"
        )

    async def append(self, append: Append) -> int:
        if not append.events:
            raise ValueError("nothing to append")
        stored = [self._mapper.to_stored_event(recorded) for recorded in append.events]
        with tracing.span("append", kind=Kind.CLIENT) as span:
            if span.recording:
                span.set(_told(append))
            position = await self._writer.append(stored, append.take, append.release)
            span.set({"app_manager.position": position})
            return position

    async def read_stream(self, stream_id: UUID) -> Sequence[RecordedEvent]:
        return self._recorded(await self._streams.get(stream_id) or ())

    async def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        return await self._calls.run(lambda: self._recorded(self._adapter.select_after(after, limit)))

    async def position_at(self, at: datetime) -> int:
        return await self._calls.run(lambda: position_at(self._adapter, at))

    async def head(self) -> int:
        return await self._calls.run(self._adapter.head)

    async def wait(self, after: int, timeout: float) -> None:
        await self._head.wait(after, timeout)

    async def _read_streams(self, stream_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[StoredAt]]:
        """Still as stored: an event of one stream that cannot be read is no trouble of the others."""
        names = [id.hex for id in stream_ids]
        streams: dict[UUID, list[StoredAt]] = {}
        for stored, position in await self._calls.run(lambda: self._adapter.select_streams(names)):
            streams.setdefault(UUID(str(stored.originator_id)), []).append((stored, position))
        return streams

    def _recorded(self, stored: Sequence[StoredAt]) -> Sequence[RecordedEvent]:
        return [self._mapper.to_recorded_event(event, position) for event, position in stored]


class StoredEvents:
    """The log as it is stored, for who follows it without asking what the events say."""

    def __init__(self, adapter: LogAdapter, calls: _Calls) -> None:
        self._adapter, self._calls = adapter, calls

    async def read(self, after: int, limit: int) -> Sequence[StoredAt]:
        """As `EventLog.read`. Raises a StoreError."""
        return await self._calls.run(lambda: self._adapter.select_after(after, limit))


def _told(append: Append) -> tracing.Attributes:
    """What a span tells of it: the stream of its first event, and how many there are."""
    first = append.events[0]
    return {
        "app_manager.stream_id": first.stream_id.hex,
        "app_manager.event": first.event.NAME,
        "app_manager.events": len(append.events),
    }


class _Database:
    """`LogDatabase` over an adapter."""

    def __init__(self, adapter: LogAdapter, calls: _Calls) -> None:
        self._adapter, self._calls = adapter, calls

    async def transaction(self, work: Callable[[Session], T]) -> T:
        def run() -> T:
            with self._adapter.writing() as session:
                return work(session)

        return await self._certain(run)

    async def create(self, statements: Sequence[str]) -> None:
        def run() -> None:
            with self._adapter.appending() as session:
                for statement in statements:
                    session.execute(statement)

        await self._certain(run)

    async def _certain(self, run: Callable[[], T]) -> T:
        for _ in range(UNCERTAIN_TRIES):
            try:
                return await self._calls.run(run)
            except CommitUncertain:
                continue
        raise StoreUnavailable("The event store was lost inside a commit")
