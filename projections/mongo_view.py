"""Builds of the read models in MongoDB.

Each build is a collection of its name. Its checkpoint is a document in it, so that dropping the collection drops the
checkpoint too and it is built anew. The collection `builds` holds one document for each model and schema version: the
numbers of its builds and which of them is live.

A commit is one transaction: first the checkpoint, on condition that holder, token and position are still those of the
lease, then the documents. So of two processes that believe to hold a lease only one can commit, and nothing is ever
applied twice. What a crash leaves:

- before the commit, or cancelled there: a transaction without an end. It would bar the documents for a minute, so who
  takes the lease next first ends the session that the checkpoint names.
- in the commit: all or nothing. Whoever takes the lease reads from the checkpoint which of the two it was.
- between making a collection and its checkpoint: a collection without a checkpoint, which is as good as none.

All times are the server's (`$$NOW`), so that no clock of ours decides who may write. Taking and committing use the one
session of the view, one after another: a view belongs to one projector.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Self, cast
from uuid import UUID

from bson.binary import Binary
from bson.errors import BSONError
from bson.int64 import Int64
from pymongo import DeleteOne, IndexModel, InsertOne, ReplaceOne, ReturnDocument
from pymongo.errors import OperationFailure, PyMongoError

from infra.mongo import ClientSession, Collection, Mongo, leave, mongo_errors, transaction
from projections.parked import PREFIX
from projections.read_model import Document, ReadModel
from projections.registry import BUILDS, CHECKPOINT, LONG_AGO, NOW, drop_retired
from projections.view import Advance, BuildName, Fenced, Lease, Refused

CALL_SECONDS = 10.0  # no call takes longer
LOAD_AT_ONCE = 10_000
PARKED_INDEX = IndexModel("concerns", name="parked", partialFilterExpression={"concerns": {"$exists": True}})

Operation = InsertOne[Document] | ReplaceOne[Document] | DeleteOne


class MongoView:
    """`projections.view.View` over MongoDB. Used as an async context manager."""

    def __init__(self, mongo: Mongo, models: Sequence[ReadModel], holder: str, lease_seconds: float) -> None:
        """`holder` names this process, and no other ever."""
        self._mongo, self._holder = mongo, holder
        self._models = {(model.NAME, model.VERSION): model for model in models}
        self._lease = {"holder": holder, "until": {"$add": ["$$NOW", round(lease_seconds * 1000)]}}

    async def __aenter__(self) -> Self:
        self._session: ClientSession = await self._mongo.client.start_session()
        self._session_id: UUID = cast(Mapping[str, Binary], self._session.session_id)["id"].as_uuid()
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(PyMongoError):
            await leave(self._session)

    # -- builds and leases --------------------------------------------------------------------------------------------

    async def builds(self) -> Mapping[BuildName, bool]:
        registry = self._mongo.database[BUILDS]
        ids = {f"{name}.{version}": (name, version) for name, version in self._models}
        with mongo_errors(CALL_SECONDS):
            await self._mongo.ping()  # one that was away at start may be of the wrong kind
            registered = await registry.aggregate([{"$match": {"_id": {"$in": list(ids)}}}, NOW]).to_list(None)
            await drop_retired(self._mongo, registered)
            known = {one["_id"]: one for one in registered}
            for id in ids.keys() - known.keys():
                first = {"$setOnInsert": {"numbers": [1], "live": None}}
                after = ReturnDocument.AFTER
                known[id] = await registry.find_one_and_update({"_id": id}, first, upsert=True, return_document=after)
        return {
            BuildName(*ids[id], number): number == one["live"] for id, one in known.items() for number in one["numbers"]
        }

    async def take(self, build: BuildName) -> Lease | None:
        collection = self._collection(build)
        free = {"$expr": {"$or": [{"$eq": ["$holder", self._holder]}, {"$lt": ["$until", "$$NOW"]}]}}
        with mongo_errors(CALL_SECONDS):
            checkpoint: Document | None = await collection.find_one({"_id": CHECKPOINT})
            if checkpoint is None:
                await self._make(build)
            elif await collection.find_one({"_id": CHECKPOINT, **free}) is None:
                return None
            else:
                await self._prepare(build)
                await self._end_session_of(checkpoint)
            ours = {**self._lease, "token": {"$add": ["$token", 1]}, "session": self._session_id}
            taken: Document | None = await collection.find_one_and_update(
                {"_id": CHECKPOINT, **free},
                [{"$set": {**ours, "state": "running", "error": None}}],
                return_document=ReturnDocument.AFTER,
                session=self._session,
            )
            if taken is None:
                return None
            waiting = {"_id": {"$gte": PREFIX, "$lt": PREFIX + "g"}}
            parked = await collection.find(waiting, {"stream": True, "position": True}).to_list(None)
        at = {one["stream"]: one["position"] for one in parked}
        return Lease(build, taken["token"], taken["position"], at, taken.get("decided", 0))

    async def renew(self, lease: Lease) -> bool:
        with mongo_errors(CALL_SECONDS):
            renewed = await self._collection(lease.build).update_one(self._condition(lease), [{"$set": self._lease}])
        return bool(renewed.matched_count)

    async def release(self, lease: Lease) -> None:
        given_back = [{"$set": {"holder": None, "until": "$$NOW"}}]
        with mongo_errors(CALL_SECONDS):
            await self._collection(lease.build).update_one(self._condition(lease), given_back)

    async def go_live(self, build: BuildName) -> None:
        with mongo_errors(CALL_SECONDS):
            unread = {"_id": f"{build.model}.{build.version}", "live": None, "retired.number": {"$ne": build.number}}
            await self._mongo.database[BUILDS].update_one(unread, {"$set": {"live": build.number}})

    async def make_indexes(self, build: BuildName, **options: Any) -> None:
        """What its readers need; those that are there stay. `options` are the command's."""
        model = self._models[build.model, build.version]
        await self._collection(build).create_indexes([*model.INDEXES, PARKED_INDEX], **options)

    # -- documents ----------------------------------------------------------------------------------------------------

    async def load(self, build: BuildName, ids: Sequence[str]) -> dict[str, Document]:
        found: dict[str, Document] = {}
        with mongo_errors(CALL_SECONDS):
            for start in range(0, len(ids), LOAD_AT_ONCE):
                some = {"_id": {"$in": ids[start : start + LOAD_AT_ONCE]}}
                loaded = await self._collection(build).find(some).to_list(None)
                found.update((one["_id"], one) for one in loaded)
        return found

    async def commit(self, advances: Sequence[Advance]) -> None:
        with mongo_errors(CALL_SECONDS):
            async with transaction(self._session):
                for advance in advances:
                    await self._advance_checkpoint(advance)
                    await self._write(advance)

    async def _advance_checkpoint(self, advance: Advance) -> None:
        changes: dict[str, Any] = {**self._lease, "position": Int64(advance.position)}
        if advance.lease.position == 0:
            changes["decided"] = Int64(advance.lease.decided)
        if advance.parked is not None:
            changes["parked"] = len(advance.parked)
        if advance.stopped is not None:
            changes |= {"state": "stopped", "error": {"$literal": advance.stopped}}
        moved = await self._collection(advance.lease.build).update_one(
            {**self._condition(advance.lease), "position": advance.lease.position},
            [{"$set": changes}],
            session=self._session,
        )
        if not moved.matched_count:
            raise Fenced(advance.lease.build)

    async def _write(self, advance: Advance) -> None:
        operations: list[Operation] = [
            *(InsertOne(doc) for doc in advance.inserted),
            *(ReplaceOne({"_id": doc["_id"]}, doc) for doc in advance.replaced),
            *(DeleteOne({"_id": id}) for id in advance.removed),
        ]
        if not operations:
            return
        try:  # in order: the first refusal ends it, and what came after would hide it
            await self._collection(advance.lease.build).bulk_write(operations, ordered=True, session=self._session)
        except (BSONError, OverflowError, UnicodeError, RecursionError) as error:  # it cannot be told in BSON
            raise Refused(f"{type(error).__name__}: {error}") from error
        except OperationFailure as error:
            if error.timeout or error.has_error_label("TransientTransactionError"):
                raise
            raise Refused(f"{type(error).__name__}: {_told(error)}") from error

    # -- inside -------------------------------------------------------------------------------------------------------

    def _collection(self, build: BuildName) -> Collection:
        return self._mongo.database[str(build)]

    def _condition(self, lease: Lease) -> Document:
        return {"_id": CHECKPOINT, "holder": self._holder, "token": lease.token}

    async def _make(self, build: BuildName) -> None:
        """The collection, empty. It is not read before it has caught up."""
        await self._mongo.database[BUILDS].update_one(
            {"_id": f"{build.model}.{build.version}", "live": build.number}, {"$set": {"live": None}}
        )
        await self._prepare(build)
        checkpoint = {"position": Int64(0), "token": 0, "holder": None, "until": LONG_AGO, "parked": 0}
        await self._collection(build).update_one({"_id": CHECKPOINT}, {"$setOnInsert": checkpoint}, upsert=True)

    async def _prepare(self, build: BuildName) -> None:
        """Before it is projected."""
        await self.make_indexes(build)

    async def _end_session_of(self, checkpoint: Document) -> None:
        """Ends what the former holder may have left open. It may not be allowed to: then its minute must pass."""
        former = checkpoint.get("session")
        if former is not None and former != self._session_id:
            with contextlib.suppress(OperationFailure):
                await self._mongo.client.admin.command({"killSessions": [{"id": Binary.from_uuid(former)}]})


def _told(error: OperationFailure) -> str:
    """What the server says of the first document that it refuses."""
    details = error.details or {}
    first = (details.get("writeErrors") or [details])[0]
    return str(first.get("errmsg", error))
