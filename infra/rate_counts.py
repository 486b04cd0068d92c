"""The windows of all rate limits in MongoDB, and what a process knows of those it has asked about.

Many windows are changed in one round trip and looked at in another. What is known of a window is a hint: it tells what
to try, and how many hits count as of the last look; whether a hit is counted, the database alone decides.

Counts are acknowledged by the primary alone and not yet on its disk: no request waits for a majority. So they outlive
each process of ours, and MongoDB's restart, but a crash of the primary may forget those of its last instants. Documents
go by a TTL index once their last hit has left. Killed between two steps, a process leaves counts that are right.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

from domain.errors import StoreFailed
from domain.ports import Clock
from infra.mongo import Mongo, mongo_errors
from infra.rate_windows import Document, Size, Update, Window, counting, giving_back, taking_out

COLLECTION = "rate_limits"
KNOWN = 4_096  # windows
FRESH_SECONDS = 1.0
GIVE_BACK_TRIES = 3
DUPLICATE_KEY = 11_000
PRIMARY_ALONE = {"w": 1, "j": False}


class RateCounts:
    """All that asks the database may raise StoreUnavailable, StoreTimeout or StoreFailed, after `seconds` at most."""

    def __init__(self, mongo: Mongo, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self._database, self._windows = mongo.database, mongo.database[COLLECTION]
        self._known: OrderedDict[str, Window] = OrderedDict()
        self._indexed = False

    # -- what is known ------------------------------------------------------------------------------------------------

    def known(self, key: str) -> Window | None:
        """As it is now by the last look at it."""
        window = self._known.get(key)
        if window is None:
            return None
        if not window.advance(self.now()):
            del self._known[key]
            return None
        self._known.move_to_end(key)
        return window

    def fresh(self, key: str) -> Window | None:
        """As it was seen a moment ago."""
        window = self.known(key)
        stale = window and asyncio.get_running_loop().time() - window.seen_at >= FRESH_SECONDS
        return None if stale else window

    def now(self) -> int:
        """Milliseconds."""
        return round(self._clock.now().timestamp() * 1000)

    def _learn(self, key: str, size: Size, document: Document) -> Window:
        window = self._known[key] = Window.of(size, document, self.now(), asyncio.get_running_loop().time())
        self._known.move_to_end(key)
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)
        return window

    # -- many at once -------------------------------------------------------------------------------------------------

    async def count(self, amounts: Mapping[str, tuple[Size, int]]) -> set[str]:
        """Counts so many hits in each window, all or none of them. Gives the windows in which there was no room.

        There may be room in them once what has left is taken out: a look at them tells.
        """
        await self._make_index()
        now, updates, places = self.now(), list[Update](), dict[int, str]()
        for key, (size, amount) in amounts.items():
            window = self._known.get(key)
            if window and window.needs_taking_out(amount):
                updates.append(taking_out(key, window))
            places[len(updates)] = key
            updates.append(counting(key, size, amount, now))
        if not updates:
            return set()
        _, full = await self._write(updates)
        return {places[index] for index in full}

    async def look(self, sizes: Mapping[str, Size], unsure: Collection[str]) -> None:
        """Brings what is known of these windows up to date: of most, just how many hits there are.

        `unsure`: those of which nothing that is known may be kept.
        """
        known = [key for key in sizes if key in self._known and key not in unsure]
        seen, loop = await self._read(known, {"total": True, "version": True}), asyncio.get_running_loop()
        up_to_date = set[str]()
        for key in known:
            window, document = self._known[key], seen.get(key)
            if document is not None and document["version"] == window.version:
                window.total, window.seen_at = document["total"], loop.time()
                if self.known(key):
                    up_to_date.add(key)
        others = [key for key in sizes if key not in up_to_date]
        read = await self._read(others)
        for key in others:
            self._known.pop(key, None)
            if key in read:
                self._learn(key, sizes[key], read[key])

    async def _write(self, updates: Sequence[Update]) -> tuple[int, Collection[int]]:
        """How many found their document, and the places of those that found no room.

        Not through the client's bulk writes: these may be retried, for which the server keeps a record of each.
        """
        with mongo_errors(self._seconds):
            command = {"update": COLLECTION, "updates": updates, "ordered": False, "writeConcern": PRIMARY_ALONE}
            told = await self._database.command(command)
        failed = {one["index"]: one["code"] for one in told.get("writeErrors", ())}
        if any(code != DUPLICATE_KEY for code in failed.values()):
            raise StoreFailed("The database refused to count")
        return told["n"], failed.keys()

    async def _read(self, keys: Sequence[str], fields: Mapping[str, bool] | None = None) -> Mapping[str, Document]:
        if not keys:
            return {}
        with mongo_errors(self._seconds):
            found = await self._windows.find({"_id": {"$in": keys}}, fields, batch_size=len(keys) + 1).to_list(None)
        return {one["_id"]: one for one in found}

    async def _make_index(self) -> None:
        if not self._indexed:
            with mongo_errors(self._seconds):
                await self._windows.create_index("expire_at", expireAfterSeconds=0, name="expire_at")
            self._indexed = True

    # -- one window ---------------------------------------------------------------------------------------------------

    async def window(self, key: str, size: Size) -> Window | None:
        """As it was seen a moment ago, or is read now. None: nothing was counted in it for long."""
        window = self.fresh(key)
        if window is None and key in (read := await self._read([key])):
            return self._learn(key, size, read[key])
        return window

    async def give_back(self, key: str, size: Size, amount: int, since: int) -> None:
        """Takes out hits that were counted by one call, which began at `since` (milliseconds).

        They come from the first slot since then that has so many: their own, or an earlier one, so that what stays
        counts rather too long than too short. If others change the window each time, they stay in it.
        """
        for _ in range(GIVE_BACK_TRIES):
            self._known.pop(key, None)
            document = (await self._read([key])).get(key)
            update = giving_back(key, document, size.slot_at(since), amount) if document else None
            if update is None:
                return
            found, _ = await self._write([update])
            if found:
                return

    async def forget(self, key: str | None = None) -> int:
        """This window, or all. Gives how many there were. Other processes may refuse a moment longer."""
        if key is None:
            self._known.clear()
        else:
            self._known.pop(key, None)
        with mongo_errors(self._seconds):
            return int((await self._windows.delete_many({} if key is None else {"_id": key})).deleted_count)
