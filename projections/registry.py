"""Which builds there are of each read model: the collection `builds`, one document a model and schema version.

`numbers` are the builds that projectors keep current, `live` the one that is read. `next` is one that a rebuild makes
beside it: no projector takes it, and nobody reads it, before the switch adds it to `numbers` and moves `live` to it.
`retired` are builds that were live before: kept current until their time has come, so that exports which read them end,
or without an end, for a roll-back.

The switch is one transaction. It

- gives the new build's lease back, on condition that it is still its holder's (who was replaced switches nothing);
- marks the live build's checkpoint as superseded by the new one, on condition that it is not ahead of it, and fences
  its projector. That write conflicts with a commit at the same moment, so none of them slips in between. And every read
  of the old build sees the mark from then on and turns to the new one: no answer is older than one before;
- moves the pointer, on condition that it still points to that build.

What a crash leaves: before it, a build that the next start goes on with; after it, all is done. A build whose time has
come leaves `numbers` first, then its collection is dropped, again and again for a minute, so that a projector which had
looked a moment before does not bring it back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from infra.mongo import MAJORITY, ClientSession, Mongo, leave, mongo_errors, transaction
from projections.read_model import Document
from projections.view import BuildName, Fenced, Lease

BUILDS, CHECKPOINT = "builds", "checkpoint"
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
NOW: Document = {"$set": {"now": "$$NOW"}}
FENCED: Document = {"token": {"$add": ["$token", 1]}, "holder": None, "until": LONG_AGO}  # whoever projects it
SUPERSEDED = "superseded_by"  # in a checkpoint: the number of the build that is read instead
GRACE_SECONDS = 600.0  # how long exports may still read a build that is no longer live
DROPPING = timedelta(minutes=1)


class NotCaughtUp(Exception):
    """The live build is ahead of the one that was to replace it, or is being written. Nothing was changed."""


class NotLive(Exception):
    """Another build is live than was thought. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Retired:
    """A build that was live. `until`: when it is dropped; None: it is kept for a roll-back."""

    number: int
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Registered:
    """What is registered of a model's schema version, at the server's time `now`."""

    model: str
    version: int
    numbers: Sequence[int]
    live: int | None
    next: int | None
    release: str | None  # that makes `next`
    retired: Sequence[Retired]
    now: datetime

    @classmethod
    def of(cls, document: Document) -> "Registered":
        model, _, version = document["_id"].rpartition(".")
        building = document.get("next") or {}
        return cls(
            model=model,
            version=int(version),
            numbers=document["numbers"],
            live=document["live"],
            next=building.get("number"),
            release=building.get("release"),
            retired=[Retired(one["number"], one["until"]) for one in document.get("retired", ())],
            now=document["now"],
        )

    def build(self, number: int) -> BuildName:
        return BuildName(self.model, self.version, number)

    @property
    def kept(self) -> int | None:
        """The newest one that a roll-back may go back to."""
        return max((one.number for one in self.retired if one.until is None), default=None)


class Registry:
    """The document of each of these schema versions. All methods raise what `mongo_errors` does."""

    def __init__(self, mongo: Mongo, versions: Mapping[str, int]) -> None:
        self._mongo, self._versions = mongo, versions
        self._registry = mongo.database[BUILDS].with_options(write_concern=MAJORITY)

    async def all(self) -> Mapping[str, Registered]:
        """By model, those that a projector has registered."""
        ids = [f"{model}.{version}" for model, version in self._versions.items()]
        with mongo_errors():
            found = await self._registry.aggregate([{"$match": {"_id": {"$in": ids}}}, NOW]).to_list(None)
        registered = {one.model: one for one in map(Registered.of, found)}
        return {model: registered[model] for model in self._versions if model in registered}

    async def begin(self, model: str, release: str) -> BuildName:
        """The build to make: the one that was begun before, unless another release began it.

        Raises NotLive when another process began one at this moment.
        """
        known = (await self.all()).get(model)
        if known is None:
            await self._register(model)
            known = (await self.all())[model]
        if known.next is not None and known.release == release:
            return known.build(known.next)
        taken = (*known.numbers, known.next or 0, *(one.number for one in known.retired))
        building = {"number": max(taken) + 1, "release": release}
        before = {"next.number": known.next} if known.next is not None else {"next": None}
        with mongo_errors():
            if known.next is not None:
                await self._mongo.database.drop_collection(str(known.build(known.next)))
            begun = await self._registry.update_one({"_id": self._id(model), **before}, {"$set": {"next": building}})
        if not begun.matched_count:
            raise NotLive(f"Another rebuild of {model} has begun at this moment")
        return known.build(max(taken) + 1)

    async def discard(self, build: BuildName) -> None:
        """A build that must not become live: the next rebuild begins anew."""
        with mongo_errors():
            unread = {"_id": self._id(build.model), "next.number": build.number}
            if (await self._registry.update_one(unread, {"$unset": {"next": True}})).matched_count:
                await self._mongo.database.drop_collection(str(build))

    async def switch(self, new: Lease, live: int | None, holder: str, *, keep: bool, grace: float) -> None:
        """See the module. `live` is the number of the build that is read now; `keep` keeps it for a roll-back.

        Raises Fenced when the new build is not its holder's any more, NotCaughtUp, NotLive.
        """
        freed: list[Document] = [{"$set": {"holder": None, "until": LONG_AGO}}, {"$unset": SUPERSEDED}]
        ours = {"_id": CHECKPOINT, "holder": holder, "token": new.token, "position": new.position}
        await self._switch(new.build, new.position, live, (ours, freed), keep=keep, grace=grace)

    async def roll_back(self, to: BuildName, position: int, live: int, grace: float) -> None:
        """The same, to a build that projectors keep current and that stood at that position. What was live is dropped.

        It writes into both checkpoints, so that neither build's projector commits at the same moment. Raises Fenced
        when the build has moved on meanwhile.
        """
        there = {"_id": CHECKPOINT, "position": position}
        await self._switch(
            to, position, live, (there, [{"$set": FENCED}, {"$unset": SUPERSEDED}]), keep=False, grace=grace
        )

    async def _switch(
        self,
        new: BuildName,
        position: int,
        live: int | None,
        write: tuple[Document, list[Document]],
        *,
        keep: bool,
        grace: float,
    ) -> None:
        condition, change = write
        with mongo_errors():
            session = await self._mongo.client.start_session()
            try:
                async with transaction(session):
                    moved = await self._mongo.database[str(new)].update_one(condition, change, session=session)
                    if not moved.matched_count:
                        raise Fenced(new)
                    if live is not None:
                        await self._supersede(BuildName(new.model, new.version, live), new, position, session)
                    await self._move_pointer(new, live, keep, grace, session)
            finally:
                await leave(session)

    async def _supersede(self, old: BuildName, new: BuildName, position: int, session: ClientSession) -> None:
        marked = await self._mongo.database[str(old)].update_one(
            {"_id": CHECKPOINT, "position": {"$lte": position}},
            [{"$set": {**FENCED, SUPERSEDED: new.number}}],
            session=session,
        )
        if not marked.matched_count:
            raise NotCaughtUp(f"{new} is behind {old}")

    async def _move_pointer(
        self, new: BuildName, live: int | None, keep: bool, grace: float, session: ClientSession
    ) -> None:
        """Builds kept before are dropped after the same grace, as only the one that was live now is kept."""
        until = {"$add": ["$$NOW", round(grace * 1000)]}
        others = {"$filter": {"input": {"$ifNull": ["$retired", []]}, "cond": {"$ne": ["$$this.number", new.number]}}}
        ended = {"$ifNull": ["$$this.until", until]}
        aging = {"$map": {"input": others, "in": {"number": "$$this.number", "until": ended}}}
        left = [] if live is None else [{"number": live, "until": None if keep else until}]
        change: list[Document] = [
            {"$set": {"live": new.number, "retired": {"$concatArrays": [aging, left]}}},
            {"$set": {"numbers": {"$setUnion": ["$numbers", [new.number]]}}},
            {"$unset": "next"},
        ]
        moved = await self._registry.update_one({"_id": self._id(new.model), "live": live}, change, session=session)
        if not moved.matched_count:
            raise NotLive(f"Another build of {new.model} has become live")

    async def _register(self, model: str) -> None:
        first: dict[str, Any] = {"$setOnInsert": {"numbers": [1], "live": None}}
        with mongo_errors():
            await self._registry.update_one({"_id": self._id(model)}, first, upsert=True)

    def _id(self, model: str) -> str:
        return f"{model}.{self._versions[model]}"


async def drop_retired(mongo: Mongo, found: Sequence[Document]) -> None:
    """Drops the builds whose time has come, and takes them out of these registered documents (with their `now`)."""
    registry = mongo.database[BUILDS]
    for document in found:
        one = Registered.of(document)
        for retired in one.retired:
            if retired.until is None or retired.until > one.now:
                continue
            gone: Document = {"numbers": retired.number}
            if retired.until + DROPPING < one.now:
                gone["retired"] = {"number": retired.number, "until": retired.until}
            unread = {"_id": document["_id"], "live": {"$ne": retired.number}}
            if (await registry.update_one(unread, {"$pull": gone})).matched_count:
                await mongo.database.drop_collection(str(one.build(retired.number)))
                document["numbers"] = [number for number in document["numbers"] if number != retired.number]
