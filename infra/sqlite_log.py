"""The event log in SQLite: the embedded default, for one machine.

Durable when a transaction is left: WAL mode with `synchronous=FULL`, so each commit is synced. A kill at any instant
leaves the last commit. Every write begins with BEGIN IMMEDIATE: the lock is taken first, so positions are given in the
order of commits, and a reader never skips one. Reads use connections of their own and never wait for writers.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from uuid import UUID

from eventsourcing.persistence import PersistenceError, StoredEvent
from eventsourcing.sqlite import (
    SQLiteApplicationRecorder,
    SQLiteConnection,
    SQLiteConnectionPool,
    SQLiteCursor,
    SQLiteDatastore,
)

from domain.errors import Conflict, StoreError, StoreFailed, StoreTimeout, StoreUnavailable
from infra.log_database import READ_BYTES, CommitUncertain, Row, StoredAt

LOCK_TIMEOUT_SECONDS = 5
LOCK_POLL_SECONDS = 0.0005
CLOSE_SECONDS = 6.0  # longer than the lock is waited for
WATCH_POLL_SECONDS = 0.004
STREAMS_CACHED = 4_096  # a reader meets each a few times in a row
OWNERS_ONLY = 0o600  # people's job hunts; SQLite gives the files beside it the same
SELECT = "SELECT rowid, originator_id, originator_version, topic, state FROM stored_events"


class _Pool(SQLiteConnectionPool):
    pragmas: tuple[str, ...] = ()

    def _create_connection(self) -> SQLiteConnection:
        connection = super()._create_connection()
        for pragma in self.pragmas:
            connection.cursor().execute(pragma)
        return connection


class _Writers(_Pool):
    # busy_timeout: we wait for the lock ourselves, in short steps
    pragmas = ("PRAGMA synchronous=FULL", "PRAGMA busy_timeout=0")


def _recorder(path: Path, pool: type[_Pool], size: int) -> SQLiteApplicationRecorder:
    datastore = SQLiteDatastore(str(path))
    datastore.pool = pool(
        db_name=str(path), lock_timeout=LOCK_TIMEOUT_SECONDS, pool_size=size, pool_timeout=LOCK_TIMEOUT_SECONDS
    )
    return SQLiteApplicationRecorder(datastore)


class _Session:
    """`AppendSession` over a cursor inside a transaction."""

    now = "((julianday('now') - 2440587.5) * 86400.0)"

    def __init__(self, recorder: SQLiteApplicationRecorder, cursor: SQLiteCursor) -> None:
        self._recorder, self._cursor = recorder, cursor

    def execute(self, sql: str, params: Sequence[object] = ()) -> list[Row]:
        self._cursor.execute(sql, tuple(params))
        return [tuple(row) for row in self._cursor.fetchall()]

    def insert(self, events: Sequence[StoredEvent]) -> Sequence[int]:
        try:
            return self._recorder._insert_events(self._cursor, events) or []
        except sqlite3.IntegrityError as error:
            raise Conflict("Another append came first") from error

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        self._cursor.execute("SAVEPOINT one")
        try:
            yield
        except BaseException:
            self._cursor.execute("ROLLBACK TO one")
            self._cursor.execute("RELEASE one")
            raise
        self._cursor.execute("RELEASE one")


class _Users:
    """The transactions that run. To close a connection in which another thread works crashes the whole process, and a
    call that nobody waits for any more, cancelled or timed out, still works in its thread."""

    def __init__(self) -> None:
        self._count = 0
        self._closed = False
        self._changed = threading.Condition()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Raises StoreUnavailable once closed."""
        with self._changed:
            if self._closed:
                raise StoreUnavailable("The event store is closed")
            self._count += 1
        try:
            yield
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    def close(self) -> bool:
        """Lets nobody in any more; whether all have left in time."""
        with self._changed:
            self._closed = True
            return self._changed.wait_for(lambda: self._count == 0, CLOSE_SECONDS)


class SqliteLog:
    """`LogAdapter` over one file; `path` and its folder are made when missing; a new file is read by its owner only."""

    pause_after_commit = 0.001

    def __init__(self, path: Path, pool_size: int) -> None:
        self._path, self._pool_size = path, pool_size
        self._users = _Users()

    def open(self) -> None:
        with _store_errors():
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                if not self._path.exists():
                    self._path.touch(OWNERS_ONLY)
            except OSError as error:
                raise StoreUnavailable("The event store's folder or file cannot be made") from error
            _use_wal(self._path)
            self._writer = _recorder(self._path, _Writers, 1)  # a pool of its own: readers never wait behind it
            self._reader = _recorder(self._path, _Pool, self._pool_size)
            self._create_tables()

    def _create_tables(self) -> None:
        try:
            with self.appending() as session:
                for statement in self._writer.create_table_statements:
                    session.execute(statement)
        except BaseException as error:
            self.close()
            if isinstance(error, CommitUncertain):
                raise StoreUnavailable("The event store's tables cannot be made") from error
            raise

    def close(self) -> None:
        """Connections that are still at work after CLOSE_SECONDS are left to the end of the process."""
        if self._users.close():
            self._reader.datastore.close()
            self._writer.datastore.close()

    @contextmanager
    def appending(self) -> Iterator[_Session]:
        with (
            _store_errors(),
            self._users.one(),
            self._writer.datastore.get_connection(commit=True) as connection,
        ):
            cursor = connection.cursor()
            _when_unlocked(cursor, "BEGIN IMMEDIATE")
            try:
                yield _Session(self._writer, cursor)
            except BaseException:
                connection.rollback()
                raise
            try:
                connection.commit()
            except sqlite3.Error as error:
                connection.rollback()
                raise CommitUncertain from error

    writing = appending

    def select_streams(self, stream_ids: Sequence[str]) -> Sequence[StoredAt]:
        marks = ",".join("?" * len(stream_ids))
        sql = f"{SELECT} WHERE originator_id IN ({marks}) ORDER BY originator_id, originator_version"
        with self._selecting(sql, stream_ids) as rows:
            return list(map(_stored_at, rows))

    def select_after(self, position: int, limit: int) -> Sequence[StoredAt]:
        with self._selecting(f"{SELECT} WHERE rowid > ? ORDER BY rowid LIMIT ?", (position, limit)) as rows:
            return list(map(_stored_at, _no_more_than(READ_BYTES, rows)))

    def head(self) -> int:
        with _store_errors(), self._users.one():
            return self._reader.max_notification_id() or 0

    def watch(self) -> "_Watcher":
        with _store_errors():
            return _Watcher(self._path)

    @contextmanager
    def _selecting(self, sql: str, params: Sequence[object]) -> Iterator[Iterator[sqlite3.Row]]:
        """Its rows, each read when it is asked for."""
        with _store_errors(), self._users.one(), self._reader.datastore.transaction(commit=False) as cursor:
            cursor.execute(sql, tuple(params))
            yield iter(cursor.fetchone, None)


def _stored_at(row: sqlite3.Row) -> StoredAt:
    position, stream, version, topic, state = row
    return StoredEvent(_stream_id(stream), version, topic, state), position


def _no_more_than(most: int, rows: Iterator[sqlite3.Row]) -> Iterator[sqlite3.Row]:
    """Those that begin within so many bytes of state."""
    size = 0
    for row in rows:
        yield row
        size += len(row[-1]) if isinstance(row[-1], bytes) else 0  # who tampers may put anything there
        if size >= most:
            return


@lru_cache(STREAMS_CACHED, typed=True)
def _stream_id(text: str) -> UUID | str:
    """As it stands there if it is not an id in our form: who audits a log that was tampered with must see it.

    An id in another form (with dashes, say) would be a stream that no query finds.
    """
    try:
        id = UUID(text)
    except (ValueError, AttributeError, TypeError):
        return str(text)
    return id if id.hex == text else text


class _Watcher:
    """`PRAGMA data_version` changes when another connection has committed; it reads one page of shared memory."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._version = -1

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        with _store_errors():
            while (version := self._one("PRAGMA data_version")) == self._version and time.monotonic() < deadline:
                time.sleep(WATCH_POLL_SECONDS)
            self._version = version
            return self._one("SELECT MAX(rowid) FROM stored_events")

    def _one(self, sql: str) -> int:
        return int(self._connection.execute(sql).fetchone()[0] or 0)

    def close(self) -> None:
        self._connection.close()


def _use_wal(path: Path) -> None:
    """Raises StoreTimeout, as `_when_unlocked`.

    To change a new file's mode is no write that waits for the lock: of processes that start at the same moment one
    would be refused at once, and the pools change it while they make a connection.
    """
    with closing(sqlite3.connect(path)) as connection:
        _when_unlocked(connection, "PRAGMA journal_mode=WAL")


def _when_unlocked(executing: sqlite3.Connection | SQLiteCursor, command: str) -> None:
    """Raises StoreTimeout when others hold the lock for longer than LOCK_TIMEOUT_SECONDS.

    SQLite's own waiting backs off to 100 ms, longer than the pause that a busy writer makes for others.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    while True:
        try:
            executing.execute(command)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            if time.monotonic() > deadline:
                raise StoreTimeout("The event store is locked") from error
            time.sleep(LOCK_POLL_SECONDS)
        else:
            return


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, PersistenceError) as error:
        raise _as_store_error(error) from error


def _as_store_error(error: Exception) -> StoreError:
    cause = error if isinstance(error, sqlite3.Error) else error.__cause__
    code = getattr(cause, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    waited_in_vain = isinstance(error, TimeoutError)  # for a connection of the pool, while another call holds it
    if waited_in_vain or primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreTimeout("The event store did not answer in time")
    if primary in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}:
        return StoreUnavailable("The event store cannot be reached")
    return StoreFailed("The event store refused the command")
