"""The documents of rate limits in MongoDB (`infra/rate_windows.py`), as a thread of its own writes and reads them.

The commands of one turn go one after the other in that thread: on the event loop each would cost several times as much
as the command itself. And no other use of the database, however long it hangs, can take the thread.

Counts are acknowledged by the primary alone and not yet on its disk: no request waits for a majority. So they outlive
each process of ours, and MongoDB's restart, but a crash of the primary may forget those of its last instants. Documents
go by a TTL index once their last hit has left.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from domain.errors import StoreFailed
from infra.mongo import Mongo, mongo_errors
from infra.rate_windows import Document, Update

COLLECTION = "rate_limits"
DUPLICATE_KEY = 11_000
PRIMARY_ALONE = {"w": 1, "j": False}
TOTALS = {"total": True, "version": True}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of one turn. `full`: windows without room, in which nothing was counted.

    Of the others that were known, `totals` says how many hits they have; all the rest, `documents` has whole.
    """

    full: Collection[str]
    totals: Mapping[str, Document]
    documents: Mapping[str, Document]


class RateDocuments:
    """All methods raise StoreUnavailable, StoreTimeout or StoreFailed, after `seconds` for each command at most."""

    def __init__(self, mongo: Mongo, seconds: float) -> None:
        self._database, self._seconds = mongo.blocking, seconds
        self._documents = self._database[COLLECTION]
        self._thread = ThreadPoolExecutor(1, "rate-limits")
        self._indexed = False

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def hit(self, updates: Mapping[str, Sequence[Update]], known: Collection[str], keys: Collection[str]) -> Turn:
        """Makes the updates of each window, the last of which counts, and then looks at the windows `keys`."""
        return await self._in_thread(partial(self._hit, updates, known, keys))

    async def read(self, keys: Sequence[str]) -> Mapping[str, Document]:
        """Whole ones."""
        return await self._in_thread(partial(self._read, keys))

    async def update(self, updates: Sequence[Update]) -> int:
        """How many of them found their document as they wanted it."""
        return (await self._in_thread(partial(self._write, updates)))[0]

    async def delete(self, key: str | None) -> int:
        """This one, or all."""
        return await self._in_thread(partial(self._delete, key))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._bounded, work)

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _bounded(self, work: Callable[[], T]) -> T:
        with mongo_errors(self._seconds):
            if not self._indexed:
                self._documents.create_index("expire_at", expireAfterSeconds=0, name="expire_at")
                self._indexed = True
            return work()

    def _hit(self, updates: Mapping[str, Sequence[Update]], known: Collection[str], keys: Collection[str]) -> Turn:
        places = [key for key, some in updates.items() for _ in some]
        _, failed = self._write([one for some in updates.values() for one in some]) if places else (0, ())
        full = {places[index] for index in failed}
        totals = self._read([key for key in known if key not in full], TOTALS)
        return Turn(full, totals, self._read([key for key in keys if key not in known or key in full]))

    def _write(self, updates: Sequence[Update]) -> tuple[int, Collection[int]]:
        """How many found their document, and the places of those that found no room.

        Not through the client's bulk writes: these may be retried, for which the server keeps a record of each.
        """
        command = {"update": COLLECTION, "updates": updates, "ordered": False, "writeConcern": PRIMARY_ALONE}
        told = self._database.command(command)
        failed = {one["index"]: one["code"] for one in told.get("writeErrors", ())}
        if any(code != DUPLICATE_KEY for code in failed.values()):
            raise StoreFailed("The database refused to count")
        return told["n"], failed.keys()

    def _read(self, keys: Sequence[str], fields: Mapping[str, bool] | None = None) -> Mapping[str, Document]:
        if not keys:
            return {}
        found = self._documents.find({"_id": {"$in": keys}}, fields, batch_size=len(keys) + 1)
        return {one["_id"]: one for one in found}

    def _delete(self, key: str | None) -> int:
        return self._documents.delete_many({} if key is None else {"_id": key}).deleted_count
