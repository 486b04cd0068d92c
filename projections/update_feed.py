"""Tells the updates as they come: one reader in each API process, whoever listens (design 8).

It follows the change stream of the database, which tells a commit once a majority has it, and never a part of it. It
hears three things there: new documents of the live build of `updates`; how far the live builds of the other read models
are; and that a live build was exchanged or dropped. An update is held until all of them have reached its position, so
that a read which follows it is never older. A read model that stands still (stopped, say) holds the updates back for
HOLD_SECONDS, and is then left behind until it has caught up.

`told` is the id up to which all has been told: all that the reader knows. Ids are the same in every build of a schema
version. So after any trouble (the database away, a failover, a stream that was lost or invalidated, a dropped
collection, another live build) it begins anew: it fixes a moment, sees which builds are live then, reads what stands
after `told` in the collection, and goes on with what changed since that moment. What both of them give is told once, as
ids only go up. A kill loses nothing that a listener cannot ask for: `History` has all up to `told`, the feed all after.

While nobody listens nothing is read: it costs as much as there are updates, whosoever they are.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing

from domain.errors import ReadModelBehind, StoreError
from infra.mongo import Mongo
from infra.mongo_changes import Change, Moment, Pipeline, open_moment
from projections import updates
from projections.live import REGISTERED, live_builds
from projections.registry import BUILDS, CHECKPOINT
from projections.stored_updates import PAGE, Update, UpdateId
from projections.view import BuildName

logger = logging.getLogger(__name__)

HOLD_SECONDS = 2.0
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.1, 5.0  # after trouble
LEAVE_SECONDS = 2.0  # for the reader's last look

Builds = Mapping[str, BuildName]  # the live ones, by model
Tell = Callable[[Update], Awaitable[None]]


class UpdateFeed:
    """`tell` gets every update once, in the order of their ids. It waits for nobody."""

    def __init__(self, mongo: Mongo, tell: Tell) -> None:
        self._mongo, self._tell = mongo, tell
        self._listeners = 0
        self._reader: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()
        self._found = asyncio.Event()  # `told` is known
        self._told: UpdateId | None = None
        self._trouble: Exception | None = None

    # -- who listens --------------------------------------------------------------------------------------------------

    def join(self) -> None:
        """Somebody listens: from now on he is told what comes after `told`."""
        self._listeners += 1
        if self._reader is None and not self._ending.is_set():
            self._reader = asyncio.create_task(self._read())

    def leave(self) -> None:
        self._listeners -= 1

    @property
    def told(self) -> UpdateId | None:
        """Up to here all has been told. None while the reader has not found its place."""
        return self._told

    async def found(self, seconds: float) -> bool:
        """Waits until `told` is known; whether it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._found.wait()
        return self._found.is_set()

    async def beginning(self, seconds: float) -> UpdateId:
        """From where somebody listens who was told nothing yet. Raises ReadModelBehind or a StoreError after a while.

        A read that is made from now on reflects no less.
        """
        await self.found(seconds)
        if self._told is None:
            raise self._trouble or ReadModelBehind("The live read models were not found in time")
        return self._told

    async def close(self) -> None:
        """Ends the reader. It is in the midst of a look for a second at most, if the database answers."""
        self._ending.set()
        if self._reader is not None:
            reader = self._reader
            await asyncio.wait([reader], timeout=LEAVE_SECONDS)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    # -- the reader ---------------------------------------------------------------------------------------------------

    @property
    def _wanted(self) -> bool:
        return self._listeners > 0 and not self._ending.is_set()

    async def _read(self) -> None:
        """Until nobody listens. Whatever goes wrong, it begins anew after a while."""
        wait = FIRST_WAIT_SECONDS
        try:
            while self._wanted:
                try:
                    await self._follow()
                    wait = FIRST_WAIT_SECONDS
                except Exception as error:
                    self._tell_trouble(error)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._ending.wait(), wait)
                    wait = min(2 * wait, LONGEST_WAIT_SECONDS)
        finally:
            self._reader, self._told = None, None
            self._found.clear()

    def _tell_trouble(self, error: Exception) -> None:
        expected = isinstance(error, StoreError | ReadModelBehind)
        self._trouble = error if expected else None
        level = logging.WARNING if expected else logging.ERROR
        extra = {"event_type": "updates_wait"}
        logger.log(level, "updates wait: %r", error, exc_info=None if expected else error, extra=extra)

    async def _follow(self) -> None:
        """From one look at the database on. Returns when nobody listens, or a live build is no longer the same."""
        async with open_moment(self._mongo) as moment:
            builds = await _live(moment)
            held = Held(await _positions(moment, builds), self._told)
            await self._catch_up(moment, builds[updates.NAME], held)
            self._trouble = None
            async with aclosing(moment.changes(_what_matters(builds))) as changes:
                async for change in changes:
                    if change is not None and not _take(change, builds, held):
                        return
                    await self._release(held)
                    if not self._wanted:
                        return

    async def _catch_up(self, moment: Moment, build: BuildName, held: "Held") -> None:
        """What was committed until that moment and has not been told."""
        page: list[Update] | None = None
        while page is None or len(page) == PAGE:
            match = {"_id": {"$gt": held.newest.stored, "$lt": updates.BEYOND}}
            query: Pipeline = [{"$match": match}, {"$sort": {"_id": 1}}, {"$limit": PAGE}]
            page = [Update.of(one) for one in await moment.read(str(build), query)]
            for update in page:
                held.add(update)
            await self._release(held)

    async def _release(self, held: "Held") -> None:
        for id, update in held.free(asyncio.get_running_loop().time()):
            self._told = id
            self._found.set()
            if update is not None:
                await self._tell(update)


class Held:
    """Updates that some read models have not reached yet. `positions`: how far each of them is.

    Without `told`, all that is there by now is history: then the first thing that gets free is no update, but the place
    where it ends.
    """

    def __init__(self, positions: Mapping[str, int], told: UpdateId | None) -> None:
        self._positions = dict(positions)
        self._behind: set[str] = set()  # models that are not waited for
        self._waiting: deque[tuple[UpdateId, Update | None]] = deque()
        self._since: float | None = None  # the first of them waits
        self.newest = told or UpdateId.last_of(positions[updates.NAME])
        if told is None:
            self._waiting.append((self.newest, None))

    def add(self, update: Update) -> None:
        """One that was added before is not added again."""
        if update.id > self.newest:
            self.newest = update.id
            self._waiting.append((update.id, update))

    def reached(self, model: str, position: int) -> None:
        self._positions[model] = max(position, self._positions.get(model, 0))
        if position >= self.newest.position:
            self._behind.discard(model)

    def free(self, now: float) -> Iterator[tuple[UpdateId, Update | None]]:
        """Those that may be told at that time, in seconds."""
        while self._waiting:
            lacking = self._lacking(self._waiting[0][0].position)
            if lacking:
                self._since = now if self._since is None else self._since
                if now - self._since < HOLD_SECONDS:
                    return
                self._behind |= lacking
                names = ", ".join(sorted(lacking))
                logger.warning("updates do not wait for %s", names, extra={"event_type": "updates_ahead"})
            self._since = None
            yield self._waiting.popleft()

    def _lacking(self, position: int) -> set[str]:
        return {model for model, at in self._positions.items() if at < position and model not in self._behind}


# -- what is asked of the database ------------------------------------------------------------------------------------


async def _live(moment: Moment) -> Builds:
    builds = live_builds(await moment.read(BUILDS, [{"$match": REGISTERED}]))
    if updates.NAME not in builds:
        raise ReadModelBehind(f"The read model {updates.NAME} is being built")
    return builds


async def _positions(moment: Moment, builds: Builds) -> Mapping[str, int]:
    """How far they are. One that was dropped is not there, and not waited for."""

    def checkpoint(model: str) -> Pipeline:
        return [{"$match": {"_id": CHECKPOINT}}, {"$set": {"model": model}}]

    others = [
        {"$unionWith": {"coll": str(build), "pipeline": checkpoint(model)}}
        for model, build in builds.items()
        if model != updates.NAME
    ]
    found = await moment.read(str(builds[updates.NAME]), [*checkpoint(updates.NAME), *others])
    positions = {one["model"]: int(one["position"]) for one in found}
    if updates.NAME not in positions:
        raise ReadModelBehind(f"The read model {updates.NAME} was dropped")
    return positions


def _what_matters(builds: Builds) -> Pipeline:
    """New updates, moved checkpoints, and whatever happens to the builds themselves."""
    names = list(map(str, builds.values()))
    told = {"ns.coll": str(builds[updates.NAME]), "operationType": "insert", "documentKey._id": {"$lt": updates.BEYOND}}
    moved = {"updateDescription.updatedFields.position": {"$exists": True}}
    reached = {"ns.coll": {"$in": names}, "operationType": "update", "documentKey._id": CHECKPOINT, **moved}
    switched = {"ns.coll": BUILDS, **{f"documentKey.{name}": value for name, value in REGISTERED.items()}}
    gone = {"ns.coll": {"$in": names}, "operationType": {"$in": ["drop", "rename"]}}
    ended = {"operationType": {"$in": ["dropDatabase", "invalidate"]}}
    fields = ("operationType", "ns.coll", "fullDocument", "updateDescription.updatedFields.position")
    return [
        {"$match": {"$or": [told, reached, switched, gone, ended]}},
        {"$project": dict.fromkeys(fields, True)},
    ]


def _take(change: Change, builds: Builds, held: Held) -> bool:
    """False when the builds are no longer those that were looked up."""
    kind, collection = change["operationType"], change.get("ns", {}).get("coll")
    models = {str(build): model for model, build in builds.items()}
    if kind == "insert" and collection == str(builds[updates.NAME]):
        held.add(Update.of(change["fullDocument"]))
    elif kind == "update" and collection in models:
        held.reached(models[collection], change["updateDescription"]["updatedFields"]["position"])
    else:
        return False
    return True
