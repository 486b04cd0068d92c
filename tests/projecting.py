"""A projector over a real database and a log in memory, turned by the test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument

from domain.event import RecordedEvent
from domain.ports import Append, EventLog
from infra.mongo import Mongo
from projections.mongo_view import CHECKPOINT, MongoView
from projections.projector import Projector
from projections.read_model import Document, ReadModel
from projections.read_models import READ_MODELS
from projections.view import View
from tests.builders import Story


@asynccontextmanager
async def projecting(
    mongo: Mongo,
    log: EventLog,
    holder: str = "one",
    models: Sequence[ReadModel] = READ_MODELS,
    batch_max: int = 1000,
    lease_seconds: float = 5.0,
    around: Callable[[MongoView], View] = lambda view: view,
) -> AsyncIterator[Projector]:
    """`around` puts something between projector and database."""
    async with MongoView(mongo, models, holder, lease_seconds) as view:
        yield Projector(log, around(view), models, batch_max, lease_seconds)


async def append(log: EventLog, *stories: Story) -> int:
    """Appends what has happened, story by story."""
    position = 0
    for story in stories:
        position = await log.append(Append(story.recorded()))
    return position


async def catch_up(projector: Projector) -> None:
    """Turns until there is nothing left to do."""
    while await projector.turn():
        pass


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 15.0) -> None:
    """Fails when it does not come true in time."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.01)


# -- what is in the database ------------------------------------------------------------------------------------------


def collection(mongo: Mongo, model: str) -> Any:
    return mongo.database[f"{model}.1.1"]


async def checkpoint(mongo: Mongo, model: str) -> Document | None:
    found: Document | None = await collection(mongo, model).find_one({"_id": CHECKPOINT})
    return found


async def position(mongo: Mongo, model: str) -> int:
    found = await checkpoint(mongo, model)
    return found["position"] if found else 0


async def documents(mongo: Mongo, model: str) -> dict[str, Document]:
    """All but the checkpoint."""
    found = await collection(mongo, model).find({"_id": {"$ne": CHECKPOINT}}).to_list(None)
    return {one["_id"]: one for one in found}


async def raw_documents(mongo: Mongo, model: str) -> dict[str, bytes]:
    """The same, byte for byte."""
    raw = collection(mongo, model).with_options(bson.CodecOptions(document_class=RawBSONDocument))
    found = await raw.find({"_id": {"$ne": CHECKPOINT}}).to_list(None)
    return {one["_id"]: one.raw for one in found}


def folded(model: ReadModel, recorded: Sequence[RecordedEvent]) -> dict[str, Document]:
    """What a read model should hold: each event folded by itself."""
    docs: dict[str, Document] = {}
    for one in recorded:
        model.apply(one, docs)
    return docs
