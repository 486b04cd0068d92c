"""What changes in the database, as MongoDB tells it: a change stream, from a moment that a session names.

Resuming is left to who reads: a stream that breaks is opened anew from the moment at which he has looked at the
database. So there is no token to keep, and none to lose. `asyncio` hears of changes by batches: only the first of a
batch costs a thread.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pymongo.read_concern import ReadConcern

from domain.errors import StoreUnavailable
from infra.mongo import ClientSession, Mongo, mongo_errors

MAJORITY = ReadConcern("majority")
WAIT_MILLISECONDS = 1_000  # for the next change at most, before the server says that there is none

Change = Mapping[str, Any]
Pipeline = Sequence[Mapping[str, Any]]


class Moment:
    """A session whose reads are all at or after the moment at which it began, and the changes since that moment."""

    def __init__(self, mongo: Mongo, session: ClientSession) -> None:
        self._database = mongo.database.with_options(read_concern=MAJORITY)
        self._session = session
        self._wait = min(WAIT_MILLISECONDS, mongo.answer_milliseconds // 2)
        self._began_at: object = None

    async def begin(self) -> None:
        with mongo_errors():
            await self._database.command("ping", session=self._session)
        self._began_at = self._session.operation_time

    async def read(self, collection: str, pipeline: Pipeline, **options: Any) -> list[dict[str, Any]]:
        """What a majority of the servers has at that moment or later. Raises what `mongo_errors` does."""
        with mongo_errors():
            found = self._database[collection].aggregate(list(pipeline), session=self._session, **options)
            return await found.to_list(None)

    async def changes(self, pipeline: Pipeline) -> AsyncGenerator[Change | None, None]:
        """Every change since that moment that the pipeline lets through; None when there is none for a second.

        Raises what `mongo_errors` does; then the stream is over.
        """
        stream = {"$changeStream": {"startAtOperationTime": self._began_at}}
        options: dict[str, Any] = {"session": self._session, "maxAwaitTimeMS": self._wait}
        cursor = self._database.aggregate([stream, *pipeline], **options)
        try:
            while cursor.alive:  # type: ignore[truthy-function]
                with mongo_errors():
                    async for change in cursor:
                        yield change
                yield None
        finally:
            await cursor.close()
        raise StoreUnavailable("The database has ended the stream of its changes")


@asynccontextmanager
async def open_moment(mongo: Mongo) -> AsyncIterator[Moment]:
    """Raises what `mongo_errors` does."""
    with mongo_errors():
        session = await mongo.client.start_session()
    try:
        moment = Moment(mongo, session)
        await moment.begin()
        yield moment
    finally:
        await session.end_session()
