"""A projector over a real database and a log in memory, turned by the test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import bson
from bson.raw_bson import RawBSONDocument

from domain.event import RecordedEvent
from domain.job import Job
from domain.ports import Append, EventLog
from infra.mongo import Mongo
from projections.mongo_view import MongoView
from projections.projector import Projector
from projections.read_model import Document, Documents, ReadModel
from projections.read_models import READ_MODELS
from projections.registry import CHECKPOINT
from projections.view import BuildName, View
from tests.builders import APPLICATION_ID, START, ApplicationStory, Story, a_batch, a_job, an_application
from tests.fakes.event_log import FakeEventLog


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


def first_build(model: str) -> BuildName:
    """Of this release's schema version."""
    [version] = [one.VERSION for one in READ_MODELS if model == one.NAME]
    return BuildName(model, version, 1)


def collection(mongo: Mongo, model: str) -> Any:
    return mongo.database[str(first_build(model))]


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


# -- what has happened -------------------------------------------------------------------------------------------------

NAMES = [model.NAME for model in READ_MODELS]


def the(number: int) -> UUID:
    """Ids of the stories, not those of `some_applications`."""
    return UUID(int=APPLICATION_ID.int + 1000 + number)


TWO_JOBS = an_application(the(1)).submitted(jobs=2).started().attempted(1, 2)
STORIES: Sequence[Story] = (
    TWO_JOBS.applied(1).unknown(2).failed().applied(2).succeeded(),
    an_application(the(2), "bob").submitted().started().attempted(1).refused().failed(),
    an_application(the(3), "bob").submitted().started().exhausted().failed().retried().cancelled(),
    an_application(the(4)).submitted([a_job(portal="LinkedIn")]).started().attempted(1).applied(1).succeeded(),
    a_batch(),
)


def an_applied(number: int, *jobs: Job, user: str = "ada", minutes: int | None = None) -> ApplicationStory:
    """All its jobs applied; submitted that many minutes after START."""
    at = START + timedelta(minutes=number if minutes is None else minutes)
    story = an_application(UUID(int=APPLICATION_ID.int + number), user, at).submitted(jobs or [a_job()]).started()
    for place in range(1, len(jobs or [1]) + 1):
        story = story.attempted(place).applied(place)
    return story.succeeded()


def a_failed(number: int, *jobs: Job, user: str = "ada") -> ApplicationStory:
    at = START + timedelta(minutes=number)
    story = an_application(UUID(int=APPLICATION_ID.int + number), user, at).submitted(jobs or [a_job()]).started()
    for place in range(1, len(jobs or [1]) + 1):
        story = story.attempted(place).refused(place)
    return story.failed()


async def expect_all(mongo: Mongo, log: FakeEventLog) -> None:
    """The read models hold what folding the whole log gives."""
    recorded = await log.read(0, 1_000_000)
    for model in READ_MODELS:
        assert await documents(mongo, model.NAME) == folded(model, recorded), model.NAME
        assert await position(mongo, model.NAME) == len(recorded)


async def at_head(mongo: Mongo, log: FakeEventLog) -> bool:
    return {await position(mongo, name) for name in NAMES} == {len(await log.read(0, 1_000_000))}


# -- what stands around a projector ------------------------------------------------------------------------------------


@dataclass
class Picky:
    """A read model that cannot take some event types of one stream."""

    model: ReadModel
    stream: UUID
    poison: frozenset[str]
    cured: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def touches(self, recorded: RecordedEvent) -> Collection[str]:
        """What it cannot take concerns it, whatever the model makes of it: what changes nothing is not tried."""
        return self.model.touches(recorded) or ([recorded.stream_id.hex] if self._stumbles(recorded) else ())

    def is_new(self, id: str, recorded: RecordedEvent) -> bool:
        return self.model.is_new(id, recorded)

    def apply(self, recorded: RecordedEvent, docs: Documents) -> None:
        self.model.apply(recorded, docs)
        if self._stumbles(recorded):
            raise ValueError(f"cannot take {recorded.event.NAME}")

    def _stumbles(self, recorded: RecordedEvent) -> bool:
        return recorded.stream_id == self.stream and recorded.event.NAME in self.poison and not self.cured


def with_picky(model: ReadModel, stream: UUID, *poison: str) -> Sequence[ReadModel]:
    picky: Any = Picky(model, stream, frozenset(poison))
    return [picky if one is model else one for one in READ_MODELS]


async def project(mongo: Mongo, log: FakeEventLog, *stories: Story, **options: Any) -> None:
    await append(log, *stories)
    async with projecting(mongo, log, **options) as projector:
        await catch_up(projector)
        await projector.leave()
