"""MongoDB, where the read models and the uploaded CVs are kept: the only module that makes its client.

Every write is acknowledged by a majority and journaled, so that what returned survives the loss of the primary. A
standalone server is refused at start: it has no transactions. One that is away at start is no error, each use then
raises StoreUnavailable until it is back.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from motor.motor_asyncio import (
    AsyncIOMotorClient,
    AsyncIOMotorClientSession,
    AsyncIOMotorCollection,
    AsyncIOMotorDatabase,
)
from pymongo import timeout as time_limit
from pymongo.database import Database as PymongoDatabase
from pymongo.errors import (
    ConnectionFailure,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    WTimeoutError,
)
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from domain.errors import StoreError, StoreFailed, StoreTimeout, StoreUnavailable
from infra import tracing
from infra.mongo_metrics import CommandTimes, ConnectionsInUse, no_connection
from infra.settings import Settings

logger = logging.getLogger(__name__)

Client = AsyncIOMotorClient[dict[str, Any]]
Database = AsyncIOMotorDatabase[dict[str, Any]]
Collection = AsyncIOMotorCollection[dict[str, Any]]
BlockingDatabase = PymongoDatabase[dict[str, Any]]
ClientSession = AsyncIOMotorClientSession

SNAPSHOT = ReadConcern("snapshot")
MAJORITY = WriteConcern("majority", j=True)
PASSING = {
    246,  # SnapshotUnavailable: a collection was just made, an instant later a snapshot shows it
    11601,  # Interrupted: an operator ended it; or another projector our session, as it took over a build of ours
}
START_SECONDS = 2.0  # the look at the server when a role starts
CLOSE_SECONDS = 1.0
TIMEOUTS = (ExecutionTimeout, NetworkTimeout, WaitQueueTimeoutError, WTimeoutError)


class MongoUnusable(Exception):
    """No waiting makes it good. Its text says what to do."""


class MongoNotReplicaSet(MongoUnusable):
    """The server cannot hold the read models."""

    def __init__(self) -> None:
        super().__init__(
            "MongoDB runs as a standalone server, which has no transactions: start it with --replSet rs0 "
            "and call rs.initiate() once in its shell"
        )


@dataclass(frozen=True, slots=True)
class Pool:
    """The connections of a process (contract config.md, MongoDB); times in milliseconds."""

    most: int = 100
    least: int = 0
    idle: int = 30_000
    connect: int = 5_000
    select_server: int = 5_000
    answer: int = 30_000

    @property
    def options(self) -> dict[str, int]:
        """In the client's words. The bound of one answer also bounds the wait for a free connection and a majority."""
        return {
            "maxPoolSize": self.most,
            "minPoolSize": self.least,
            "maxIdleTimeMS": self.idle,
            "connectTimeoutMS": self.connect,
            "serverSelectionTimeoutMS": self.select_server,
            "socketTimeoutMS": self.answer,
            "waitQueueTimeoutMS": self.answer,
            "wTimeoutMS": self.answer,
        }


class Mongo:
    """The database and its client. Used as an async context manager.

    Entering raises MongoNotReplicaSet when the server is a standalone one, MongoUnusable for an address that the
    client does not take as a whole: what the settings do not see, as a user without a password.
    """

    def __init__(self, uri: str, database: str, pool: Pool | None = None) -> None:
        pool = pool or Pool()
        self._uri, self._database_name = uri, database
        self.answer_milliseconds = pool.answer  # no answer may take longer
        self._options: dict[str, Any] = {
            **pool.options,
            "w": "majority",
            "journal": True,
            "retryWrites": True,
            "tz_aware": True,
            "uuidRepresentation": "standard",
            "event_listeners": [CommandTimes(), ConnectionsInUse(pool.most), *tracing.mongo_listeners()],
        }

    @classmethod
    def of(cls, settings: Settings) -> "Mongo":
        """As the settings say."""
        pool = Pool(
            settings.mongo_max_pool_size,
            settings.mongo_min_pool_size,
            settings.mongo_max_idle_time_ms,
            settings.mongo_connect_timeout_ms,
            settings.mongo_server_selection_timeout_ms,
            settings.mongo_socket_timeout_ms,
        )
        return cls(settings.mongodb, settings.mongodb_database, pool)

    async def __aenter__(self) -> "Mongo":
        loop = asyncio.get_running_loop()
        try:  # off the loop: certificates are read from files
            self.client: Client = await asyncio.to_thread(
                lambda: AsyncIOMotorClient(self._uri, io_loop=loop, **self._options)
            )
        except (PyMongoError, ValueError, OSError) as error:  # it connects to nothing yet
            raise MongoUnusable("MONGODB cannot be used: its user, password or options do not go together") from error
        self.database: Database = self.client[self._database_name]
        try:
            with time_limit(START_SECONDS):
                await self.ping()
        except StoreError:
            logger.warning("MongoDB is away", extra={"event_type": "mongodb_away"})
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def _close(self) -> None:
        with time_limit(CLOSE_SECONDS):
            await asyncio.to_thread(self.client.close)  # it tells the server, which blocks

    @property
    def blocking(self) -> BlockingDatabase:
        """The same database over the same connections, for who has a thread of his own."""
        return self.client.delegate[self._database_name]  # type: ignore[no-any-return]

    async def ping(self) -> None:
        """Raises a StoreError when the server does not answer, MongoNotReplicaSet when it is the wrong kind."""
        with mongo_errors():
            hello = await self.client.admin.command("hello")
        if "setName" not in hello and hello.get("msg") != "isdbgrid":  # a sharded cluster's router says the latter
            raise MongoNotReplicaSet

    def snapshot(self, collection: str) -> Collection:
        """For reads of one instant: a query of it never sees a part of a transaction."""
        return self.database.get_collection(collection, read_concern=SNAPSHOT)


@asynccontextmanager
async def transaction(session: ClientSession) -> AsyncIterator[None]:
    """A transaction: committed by a majority at the end of the body, undone by an error of it.

    When its task is cancelled it is left as it stands, and the session must be used and ended no more (`leave` knows):
    the thread of the command that was under way goes on, and after an abort from another thread it would send that
    command outside of any transaction, to be done for good. The server undoes what is left within a minute, or once
    somebody ends the session there.
    """
    session.start_transaction(read_concern=SNAPSHOT, write_concern=MAJORITY)
    try:
        yield
    except Exception:
        await session.abort_transaction()
        raise
    await session.commit_transaction()


async def leave(session: ClientSession) -> None:
    """Ends a session, but one that was left inside a transaction."""
    if not session.delegate.in_transaction:
        await session.end_session()


@contextmanager
def mongo_errors(seconds: float | None = None) -> Iterator[None]:
    """Turns the client's errors into StoreUnavailable, StoreTimeout or StoreFailed.

    With `seconds`, everything inside takes that long at most.
    """
    try:
        if seconds is None:
            yield
        else:
            with time_limit(seconds):
                yield
    except PyMongoError as error:
        raise store_error(error) from error


def store_error(error: PyMongoError) -> StoreError:
    """No server found in time is one that cannot be reached, although the client counts it as a time-out.

    It is counted here, as no command was sent.
    """
    found_none = isinstance(error, ServerSelectionTimeoutError)
    if found_none:
        no_connection()
    if not found_none and (error.timeout or isinstance(error, TIMEOUTS)):
        return StoreTimeout("The database did not answer in time")
    if isinstance(error, ConnectionFailure) or error.has_error_label("TransientTransactionError") or _passes(error):
        return StoreUnavailable("The database cannot be reached")
    return StoreFailed("The database refused the command")


def _passes(error: PyMongoError) -> bool:
    return isinstance(error, OperationFailure) and error.code in PASSING
