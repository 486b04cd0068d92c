"""The event log in PostgreSQL: for production, and for more than one machine.

Durable when a transaction is left: `synchronous_commit=on`, whatever the server's default. Every append takes the
recorder's table lock first, so positions are given in the order of commits and a reader never skips one; the lock, and
a transaction that sits idle, are bounded below a second, so that nobody stops the log for long (design 5).
NOTIFY goes out with each append; it is a hint, the poll behind it is the truth. Use the primary only.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import psycopg
from eventsourcing.persistence import PersistenceError, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import Connection, Cursor
from psycopg.abc import Params, PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Identifier
from psycopg.types.numeric import Int8

from domain.errors import Conflict, StoreError, StoreFailed, StoreTimeout, StoreUnavailable
from infra.log_database import READ_BYTES, CommitUncertain, Row, StoredAt

T = TypeVar("T")

LOCK_TIMEOUT_MS = 900
IDLE_TIMEOUT_MS = 750  # in a transaction: for so long the log may stand still, and for what it takes to go on
LOCK_DEADLINE_SECONDS = 5.0
CONNECT_TIMEOUT_SECONDS = 5.0
CHECK_SECONDS = 5.0  # for the server to show that it is there
ANSWER_SECONDS = 35.0  # longer than the server lets a statement run: what comes later never comes
TABLE = "stored_events"
TOO_SLOW = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
    psycopg.errors.IdleInTransactionSessionTimeout,  # we, or the server, stood still in a transaction: it is undone
)
CONNECTION_OPTIONS = {
    "connect_timeout": int(CONNECT_TIMEOUT_SECONDS),
    "tcp_user_timeout": 10_000,  # milliseconds, as libpq wants it
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "options": "-c synchronous_commit=on -c statement_timeout=30s",
}
# Plain arrays in binary form: the recorder's own statement takes composites as text, at 40 µs an event.
INSERT = SQL(
    f"INSERT INTO {TABLE} (originator_id, originator_version, topic, state) "  # noqa: S608  a constant
    "SELECT * FROM unnest(%b::uuid[], %b::bigint[], %b::text[], %b::bytea[]) RETURNING notification_id"
)
COLUMNS = "notification_id, originator_id, originator_version, topic, state"
SELECT = f"SELECT {COLUMNS} FROM {TABLE} "  # noqa: S608  constants
SELECT_AFTER = (
    f"SELECT {COLUMNS} FROM ("  # noqa: S608  constants
    "SELECT position, sum(bytes) OVER (ORDER BY position) - bytes AS bytes_before FROM ("
    f"SELECT notification_id AS position, length(state) AS bytes FROM {TABLE} "
    "WHERE notification_id > %s ORDER BY notification_id LIMIT %s) AS limited) AS measured "
    f"JOIN {TABLE} ON notification_id = position WHERE bytes_before < %s ORDER BY position"
)


class _Connection(Connection[Row]):
    """One whose server may fall silent while its packets are still acknowledged, as behind a proxy: it is given up."""

    _is_checked = False

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        seconds = CHECK_SECONDS if self._is_checked else ANSWER_SECONDS
        deadline = time.monotonic() + seconds
        try:
            return super().wait(gen, interval, seconds if timeout is None else timeout)
        except psycopg.OperationalError:
            if timeout is None and time.monotonic() >= deadline:
                self.pgconn.finish()
            raise

    def execute(self, query: Any, params: Params | None = None, **options: Any) -> Cursor[Row]:
        """An empty one is the pool's check before a connection is used."""
        self._is_checked = isinstance(query, str) and not query
        try:
            return super().execute(query, params, **options)
        finally:
            self._is_checked = False


class _Session:
    """`AppendSession` over a cursor inside a transaction."""

    now = "extract(epoch FROM clock_timestamp())::double precision"

    def __init__(self, connection: Connection[Any]) -> None:
        self._cursor: Cursor[Row] = connection.cursor(row_factory=tuple_row)

    def execute(self, sql: str, params: Sequence[object] = ()) -> list[Row]:
        self._cursor.execute(SQL(sql.replace("?", "%s")), params)
        return self._cursor.fetchall() if self._cursor.description else []

    def insert(self, events: Sequence[StoredEvent]) -> Sequence[int]:
        if not events:
            return []
        ids, versions, topics, states = zip(
            *((e.originator_id, e.originator_version, e.topic, e.state) for e in events), strict=True
        )
        try:
            self._cursor.execute(INSERT, (list(ids), list(map(Int8, versions)), list(topics), list(states)))
        except psycopg.errors.UniqueViolation as error:
            raise Conflict("Another append came first") from error
        return [position for (position,) in self._cursor.fetchall()]

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        self._cursor.execute("SAVEPOINT one")
        try:
            yield
        except BaseException:
            self._cursor.execute("ROLLBACK TO one")
            raise
        self._cursor.execute("RELEASE one")


class PostgresLog:
    """`LogAdapter` over one database, with `pool_size` connections at most and one more for each watcher."""

    pause_after_commit = 0.0

    def __init__(self, url: str, pool_size: int) -> None:
        self._connection_info: dict[str, Any] = CONNECTION_OPTIONS | conninfo_to_dict(url)
        self._pool_size = pool_size

    def open(self) -> None:
        info = self._connection_info
        datastore = PostgresDatastore(
            dbname=info["dbname"],
            host=info.get("host", "127.0.0.1"),
            port=info.get("port", 5432),
            user=info.get("user", ""),
            password=info.get("password", ""),
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            idle_in_transaction_session_timeout=IDLE_TIMEOUT_MS / 1000,
            pool_size=self._pool_size,
            pre_ping=True,
        )
        datastore.pool.connection_class = _Connection  # type: ignore[assignment]
        datastore.pool.kwargs = cast("dict[str, Any]", datastore.pool.kwargs) | info
        self._datastore = datastore
        try:
            with _store_errors():
                self._recorder = self._create_tables()
        except BaseException:
            datastore.close()
            raise

    def _create_tables(self) -> PostgresApplicationRecorder:
        """One process at a time: `IF NOT EXISTS` alone fails when two make the same table at once."""
        recorder = PostgresApplicationRecorder(self._datastore, events_table_name=TABLE)
        recorder.lock_table_statements = [
            SQL("SET LOCAL lock_timeout = '{}ms'").format(LOCK_TIMEOUT_MS),
            SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(Identifier(TABLE)),
        ]
        with self._datastore.get_connection() as connection:
            connection.execute("SELECT pg_advisory_lock(20250227)")
            try:
                recorder.create_table()
            finally:
                connection.execute("SELECT pg_advisory_unlock(20250227)")
        return recorder

    def close(self) -> None:
        self._datastore.close()

    @contextmanager
    def appending(self) -> Iterator[_Session]:
        with self._transaction(locked=True) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[_Session]:
        with self._transaction(locked=False) as session:
            yield session

    @contextmanager
    def _transaction(self, *, locked: bool) -> Iterator[_Session]:
        with _store_errors(), self._datastore.get_connection() as connection:
            self._begin(connection, locked)
            try:
                yield _Session(connection)
            except BaseException:
                with contextlib.suppress(psycopg.Error):  # a lost connection has rolled back by itself
                    connection.execute("ROLLBACK")
                raise
            try:
                connection.execute("COMMIT")
            except psycopg.Error as error:
                raise CommitUncertain from error

    def _begin(self, connection: Connection[Any], locked: bool) -> None:
        deadline = time.monotonic() + LOCK_DEADLINE_SECONDS
        while True:
            try:
                with connection.pipeline(), connection.cursor() as cursor:
                    cursor.execute("BEGIN")
                    if locked:
                        self._recorder._lock_table(cursor)
                        self._recorder._notify_channel(cursor)
            except psycopg.errors.LockNotAvailable:
                connection.execute("ROLLBACK")
                if time.monotonic() > deadline:
                    raise
            else:
                return

    def select_streams(self, stream_ids: Sequence[str]) -> Sequence[StoredAt]:
        where = "WHERE originator_id = ANY(%s::uuid[]) ORDER BY originator_id, originator_version"
        return self._select(SELECT + where, (list(stream_ids),))

    def select_after(self, position: int, limit: int) -> Sequence[StoredAt]:
        return self._select(SELECT_AFTER, (position, limit, READ_BYTES))

    def head(self) -> int:
        with _store_errors(), self._datastore.get_connection() as connection:
            return _head(connection)

    def watch(self) -> "_Watcher":
        with _store_errors():
            return _Watcher(_Connection.connect(**self._connection_info, autocommit=True), self._recorder.channel_name)

    def _select(self, sql: str, params: Sequence[object]) -> Sequence[StoredAt]:
        with (
            _store_errors(),
            self._datastore.get_connection() as connection,
            connection.cursor(row_factory=tuple_row) as cursor,
        ):
            cursor.execute(SQL(sql), params, prepare=True, binary=True)
            return [(StoredEvent(r[1], r[2], r[3], r[4]), r[0]) for r in cursor]


class _Watcher:
    def __init__(self, connection: Connection[Any], channel: str) -> None:
        self._connection = connection
        connection.execute(SQL("LISTEN {}").format(Identifier(channel)))

    def wait(self, timeout: float) -> int:
        with _store_errors():
            for _ in self._connection.notifies(timeout=timeout, stop_after=1):
                pass
            return _head(self._connection)

    def close(self) -> None:
        self._connection.close()


def _head(connection: Connection[Any]) -> int:
    with connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(f"SELECT max(notification_id) FROM {TABLE}").fetchone()  # noqa: S608  a constant
    return row[0] or 0 if row else 0


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except (psycopg.Error, PersistenceError) as error:
        raise _as_store_error(error) from error


def _as_store_error(error: Exception) -> StoreError:
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    if isinstance(cause, TOO_SLOW):
        return StoreTimeout("The event store did not answer in time")
    if isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError)):
        return StoreUnavailable("The event store cannot be reached")
    return StoreFailed("The event store refused the command")
