"""What the sandbox portal has received, in an SQLite file.

When `run` returns, what it did is committed and synced (WAL, `synchronous=FULL`), so that a kill at any moment leaves
nothing answered that is not kept. A commit costs a sync, so calls that wait share one: a thread of its own takes all
that wait, up to BATCH_MAX, runs them one after another in one transaction and answers them after its commit. Only that
thread touches the file. When the transaction fails, each call gets one of its own, so that only the guilty one fails.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

BATCH_MAX = 256
WAITING_MAX = 10_000

Result = TypeVar("Result")
Command = Callable[[sqlite3.Connection], Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    entry_id TEXT NOT NULL UNIQUE,
    application_id TEXT NOT NULL,
    deliveries INTEGER NOT NULL,
    taken INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    reference TEXT,
    first_at TEXT NOT NULL,
    last_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS entries_by_application ON entries (application_id, number);
CREATE TABLE IF NOT EXISTS keys (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL,
    entry_id TEXT NOT NULL,
    blind INTEGER NOT NULL,
    status INTEGER,
    body BLOB,
    UNIQUE (key, blind, entry_id)
);
CREATE INDEX IF NOT EXISTS keys_by_entry ON keys (entry_id, number);
"""


class StoreBusyError(Exception):
    """More calls wait than can be taken, or the store closes. Nothing of this one is kept."""


@dataclass(slots=True)
class _Call:
    command: Command
    answer: asyncio.Future[Any]
    result: Any = None
    failure: Exception | None = None


class ReceivedStore:
    """Opened and closed as an async context manager. `run` is for the event loop that opened it."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._calls: queue.Queue[_Call | None] = queue.Queue(WAITING_MAX)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        connection = await asyncio.to_thread(self._connect)
        self._thread = threading.Thread(target=self._work, args=(connection,), name="sandbox-store", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        if self._thread is not None:
            await asyncio.to_thread(self._close, self._thread)

    async def run(self, command: Callable[[sqlite3.Connection], Result]) -> Result:
        """What the command returns, once it is committed. StoreBusyError if too many wait; sqlite3.Error on failure."""
        if self._loop is None or self._closed:
            raise StoreBusyError
        call = _Call(command, self._loop.create_future())
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            raise StoreBusyError from None
        result: Result = await call.answer
        return result

    def _connect(self) -> sqlite3.Connection:
        self._database.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._database, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(_SCHEMA)
        return connection

    def _work(self, connection: sqlite3.Connection) -> None:
        try:
            while call := self._calls.get():
                calls = [call, *self._others_waiting()]
                if _commit(connection, calls) is not None:
                    for each in calls:
                        each.failure = _commit(connection, [each])
                assert self._loop is not None
                self._loop.call_soon_threadsafe(_settle, calls)
        finally:
            connection.close()

    def _others_waiting(self) -> Iterator[_Call]:
        for _ in range(min(self._calls.qsize(), BATCH_MAX - 1)):
            if call := self._calls.get():
                yield call
            else:
                self._calls.put(None)  # the close, put back behind this last batch

    def _close(self, thread: threading.Thread) -> None:
        self._calls.put(None)
        thread.join()


def _commit(connection: sqlite3.Connection, calls: list[_Call]) -> Exception | None:
    """One transaction for all of them; if it fails, nothing of them is kept."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        for call in calls:
            call.result = call.command(connection)
        connection.execute("COMMIT")
    except Exception as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return error
    return None


def _settle(calls: list[_Call]) -> None:
    for call in calls:
        if call.answer.done():
            continue  # nobody waits any more
        if call.failure is None:
            call.answer.set_result(call.result)
        else:
            call.answer.set_exception(call.failure)
