"""The database of the event log, in memory: an `infra.log_database.LogAdapter`.

The SQL of the leases, the relay's tables and the log itself runs as it is, in SQLite's memory. What the real databases
can do to us is done here: refuse, be away, give positions with gaps, and lose a commit, which then was done, was not,
or is done only later: until then it holds the log's lock.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from eventsourcing.persistence import StoredEvent

from domain.errors import Conflict, StoreTimeout, StoreUnavailable
from infra.log_database import READ_BYTES, AppendSession, CommitUncertain, Row, StoredAt
from infra.positions import Head
from tests.simulation.chances import Chances
from tests.simulation.loop import OUTSIDE, SimLoop

CREATE = (
    "CREATE TABLE stored_events (position INTEGER PRIMARY KEY, originator_id TEXT NOT NULL, "
    "originator_version INTEGER NOT NULL, topic TEXT NOT NULL, state BLOB NOT NULL, "
    "UNIQUE (originator_id, originator_version))"
)
COLUMNS = "SELECT position, originator_id, originator_version, topic, state FROM stored_events"
LOCK_SECONDS, LOCK_LOOK_SECONDS = 5.0, 0.02
HEAD_POLL_SECONDS = 1.0
EPOCH = 1_767_268_800.0  # of the database's clock at the loop's zero: 2026-01-01, noon


@dataclass(slots=True)
class LogServer:
    """What all processes share. `committed` is called after each commit, with the statements that it held."""

    loop: SimLoop
    chances: Chances
    away: bool = False
    deaf: bool = False  # wake-ups are lost
    locked: bool = False  # by a commit that was lost on its way
    ahead: float = 0.0  # seconds, its clock before those of the processes
    head: int = 0
    committed: Callable[[Sequence[str]], None] = lambda statements: None
    heads: list["SimHead"] = field(default_factory=list)
    connection: sqlite3.Connection = field(init=False)
    _next: int = 0

    def __post_init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.execute(CREATE)

    def position(self) -> int:
        """The next one; a sequence leaves gaps."""
        self._next += 1 if self.chances.random.random() < 0.95 else 3
        return self._next

    def rows(self, sql: str, params: Sequence[object] = ()) -> list[Row]:
        return self.connection.execute(sql, params).fetchall()

    def now(self) -> float:
        return EPOCH + self.loop.time() + self.ahead

    def has_committed(self, statements: Sequence[str]) -> None:
        [[head]] = self.rows("SELECT MAX(position) FROM stored_events")
        if head and head > self.head:
            self.head = head
            for one in self.heads:
                if not self.deaf and not self.chances.happens():
                    self.loop.call_later(self.chances.latency() * 3, one.moved, head, context=OUTSIDE)
        self.committed(statements)

    def commit_later(self, session: "_Session", seconds: float, *, done: bool) -> None:
        """The connection is lost; the server ends that transaction by itself, under its lock."""
        self.locked = True

        def end() -> None:
            if done:
                self.connection.execute("BEGIN")
                for sql, params in session.journal:
                    self.connection.execute(sql, params)
                self.connection.execute("COMMIT")
            self.locked = False
            if done:
                self.has_committed([sql for sql, _ in session.journal])

        self.loop.call_later(seconds, end, context=OUTSIDE)


class _Session:
    """`AppendSession`: one transaction. `journal` is what it has changed."""

    def __init__(self, server: LogServer) -> None:
        self._server = server
        self.now = repr(server.now())
        self.journal: list[tuple[str, tuple[object, ...]]] = []

    def execute(self, sql: str, params: Sequence[object] = ()) -> list[Row]:
        if not sql.startswith("SELECT"):
            self.journal.append((sql, tuple(params)))
        return self._server.rows(sql, tuple(params))

    def insert(self, events: Sequence[StoredEvent]) -> Sequence[int]:
        positions = [self._server.position() for _ in events]
        try:
            for event, position in zip(events, positions, strict=True):
                id = str(event.originator_id).replace("-", "")
                row = (position, id, event.originator_version, event.topic, event.state)
                self.execute("INSERT INTO stored_events VALUES (?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError as error:
            raise Conflict("Another append came first") from error
        return positions

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        self._server.connection.execute("SAVEPOINT one")
        kept = len(self.journal)
        try:
            yield
        except BaseException:
            self._server.connection.execute("ROLLBACK TO one")
            self._server.connection.execute("RELEASE one")
            del self.journal[kept:]
            raise
        self._server.connection.execute("RELEASE one")


class SimLog:
    """`LogAdapter` of one process."""

    pause_after_commit = 0.0005

    def __init__(self, server: LogServer) -> None:
        self.server = server

    def open(self) -> None:
        self._reach()

    def close(self) -> None:
        """There is nothing to close."""

    @contextmanager
    def appending(self) -> Iterator[AppendSession]:
        server = self.server
        self._reach()
        self._wait_for_lock()
        session = _Session(server)
        server.connection.execute("BEGIN")
        try:
            yield session
        except BaseException:
            server.connection.execute("ROLLBACK")
            raise
        self._commit(session)

    writing = appending

    def _commit(self, session: _Session) -> None:
        """Raises CommitUncertain, whatever became of it."""
        server, chances = self.server, self.server.chances
        fate = chances.one_of("done", "undone", "late", "late undone") if chances.happens() else "answered"
        if fate in {"answered", "done"}:
            server.connection.execute("COMMIT")
            if session.journal:
                server.has_committed([sql for sql, _ in session.journal])
        else:
            server.connection.execute("ROLLBACK")
        if fate.startswith("late"):
            server.commit_later(session, chances.random.uniform(0.01, 2.0), done=fate == "late")
        if fate != "answered":
            raise CommitUncertain

    def select_streams(self, stream_ids: Sequence[str]) -> Sequence[StoredAt]:
        marks = ",".join("?" * len(stream_ids))
        sql = f"{COLUMNS} WHERE originator_id IN ({marks}) ORDER BY originator_id, originator_version"
        return self._select(sql, stream_ids)

    def select_after(self, position: int, limit: int) -> Sequence[StoredAt]:
        found, size = [], 0
        for stored in self._select(f"{COLUMNS} WHERE position > ? ORDER BY position LIMIT ?", (position, limit)):
            if size >= READ_BYTES:
                break
            size += len(stored[0].state)
            found.append(stored)
        return found

    def head(self) -> int:
        self._reach()
        return self.server.head

    def watch(self) -> Any:
        raise NotImplementedError("a SimHead is told of each commit")

    def _select(self, sql: str, params: Sequence[object]) -> Sequence[StoredAt]:
        self._reach()
        rows = self.server.rows(sql, params)
        return [(StoredEvent(UUID(row[1]), row[2], row[3], row[4]), row[0]) for row in rows]

    def _reach(self) -> None:
        if self.server.away or self.server.chances.happens():
            raise StoreUnavailable("The event store cannot be reached")

    def _wait_for_lock(self) -> None:
        looks = 0
        while self.server.locked:
            looks += 1
            if looks * LOCK_LOOK_SECONDS > LOCK_SECONDS:
                raise StoreTimeout("The event store is locked")
            self.server.loop.sleep(LOCK_LOOK_SECONDS)


class SimHead(Head):
    """What one process knows of the head: told of commits, late or not at all, and it looks by itself."""

    def __init__(self, server: LogServer) -> None:
        self._server = server
        self._position = 0
        self._moved = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server.heads.append(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.heads.remove(self)

    def moved(self, position: int) -> None:
        self._position = max(self._position, position)
        self._moved.set()

    async def wait(self, after: int, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while self._position <= after and (left := deadline - loop.time()) > 0:
            self._moved.clear()
            try:
                async with asyncio.timeout(min(left, HEAD_POLL_SECONDS)):
                    await self._moved.wait()
            except TimeoutError:
                if not self._server.away:
                    self._position = self._server.head
