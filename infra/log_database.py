"""The SQL database that holds the event log, and room beside it for what must be committed without another store.

Leases, the relay's checkpoints and messages that are due later live here, so that delivery needs only log and broker.
The SQL is written once, with `?` for parameters, for SQLite (3.35 and newer) and PostgreSQL alike.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from eventsourcing.persistence import StoredEvent

READ_BYTES = 16 * 1024 * 1024  # of events that are read at once: an event may hold megabytes

T = TypeVar("T")

Row = tuple[Any, ...]
StoredAt = tuple[StoredEvent, int]  # an event and its position


class Session(Protocol):
    """One transaction."""

    now: str  # SQL: seconds since 1970 by the database's clock, as a double

    def execute(self, sql: str, params: Sequence[object] = ()) -> list[Row]:
        """The rows of a statement, none for one that returns none."""


class AppendSession(Session, Protocol):
    """A transaction under the log's lock: nobody else appends until it ends."""

    def insert(self, events: Sequence[StoredEvent]) -> Sequence[int]:
        """Their positions, rising. Raises Conflict when a stream has one of the versions already."""

    def savepoint(self) -> AbstractContextManager[None]:
        """What happens inside is undone when it raises."""


class CommitUncertain(Exception):
    """The connection was lost, or failed, inside a commit: it may have been done."""


class LogAdapter(Protocol):
    """A kind of database. All methods block, and raise StoreUnavailable, StoreTimeout or StoreFailed."""

    pause_after_commit: float  # seconds, so that other processes get their turn (design 5)

    def open(self) -> None:
        """Makes what tables are missing."""

    def close(self) -> None: ...

    def appending(self) -> AbstractContextManager[AppendSession]:
        """A transaction under the log's lock, durable when left. Raises CommitUncertain."""

    def writing(self) -> AbstractContextManager[Session]:
        """A transaction on the tables beside the log, durable when left. Raises CommitUncertain."""

    def select_streams(self, stream_ids: Sequence[str]) -> Sequence[StoredAt]:
        """All events of these streams (UUIDs as 32 hexadecimal digits), each stream in its order."""

    def select_after(self, position: int, limit: int) -> Sequence[StoredAt]:
        """The next events: at most `limit`, and no more than READ_BYTES of them, but one at least."""

    def head(self) -> int: ...

    def watch(self) -> "HeadWatcher":
        """A connection of its own that tells when the head may have moved."""


class HeadWatcher(Protocol):
    def wait(self, timeout: float) -> int:
        """The head: as soon as it may have moved, after `timeout` seconds at the latest."""

    def close(self) -> None: ...


class LogDatabase(Protocol):
    """For who keeps something beside the log."""

    async def transaction(self, work: Callable[[Session], T]) -> T:
        """Runs `work` in one write transaction, off the event loop; durable when it returns.

        `work` may run again after a lost connection, so it must be repeatable.
        """

    async def create(self, statements: Sequence[str]) -> None:
        """Makes tables and indexes, each statement with `IF NOT EXISTS`. Raises a StoreError.

        Under the log's lock, as PostgreSQL refuses who makes a table at the same moment as another process.
        """
