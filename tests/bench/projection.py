"""How fast a backlog gets into all read models."""

import asyncio
import random
import time
from collections.abc import Sequence
from functools import reduce
from uuid import uuid4

from domain.appending import recorded_events
from domain.application import Application
from domain.application_events import Delivery
from domain.event import Cause, Event, Owner, RecordedEvent
from domain.job import Documents, Job
from domain.ports import Append
from domain.retry import RetryPolicy
from infra.clock import SystemClock
from infra.event_log import open_event_log
from infra.mongo import Mongo
from projections.mongo_view import MongoView
from projections.projector import Projector
from projections.read_models import READ_MODELS
from tests.bench.report import Row
from tests.bench.servers import Servers

APPLICATIONS, EVENTS_EACH, AT_ONCE, USERS = 10_000, 6, 100, 1_000
BATCH_MAX, LEASE_SECONDS = 1_000, 5.0
CLOCK = SystemClock()

PORTALS = ("LinkedIn", "Indeed", "Xing")
DOCUMENTS = Documents(
    resume_optimized={
        "summary": "Bakes bread. " * 30,
        "skills": ["rye", "wheat", "spelt"] * 5,
        "experience": [{"title": "Baker", "company": "Mill & Sons", "text": "Baked bread. " * 15}] * 3,
    },
    cover_letter={"subject": "Baker", "paragraphs": ["I would like to bake for you. " * 10] * 3},
)


def a_job(number: int) -> Job:
    return Job(
        id=str(number),
        portal=random.choice(PORTALS),
        title=f"Baker {number}",
        company_name="Mill & Sons",
        location="Graz",
        description="We bake. " * 70,
        skills_required=("rye", "wheat", "spelt"),
    )


def a_life(number: int, user_id: str) -> Sequence[Sequence[RecordedEvent]]:
    """An application from its submission to its success, in the appends that a service makes of it."""
    at = CLOCK.now()
    state, owner = Application(CLOCK.new_id(at)), Owner(user_id, 1, at)
    appends: list[Sequence[RecordedEvent]] = []

    def happened(events: Sequence[Event]) -> None:
        nonlocal state
        cause = Cause(f"user:{user_id}", f"request-{number}")
        appends.append(recorded_events(state.id, state.version, events, CLOCK.now(), cause, owner, CLOCK))
        state = reduce(Application.after, events, state)

    happened(state.submit((a_job(number),), "modern", None))
    happened(state.start(RetryPolicy()))
    happened(state.begin_attempt(1, state.starts, "sandbox", Delivery.AT_LEAST_ONCE, DOCUMENTS))
    happened(state.record_applied(1, "SBX-1"))
    return appends


async def fill(url: str, applications: int = APPLICATIONS) -> int:
    """A backlog in which a hundred applications are worked on at any time. Returns its events."""
    async with open_event_log(url, batch_max=512) as store:
        for first in range(0, applications, AT_ONCE):
            lives = [a_life(first + n, f"user-{random.randrange(USERS)}") for n in range(AT_ONCE)]
            for appends in zip(*lives, strict=True):
                await asyncio.gather(*(store.log.append(Append(events)) for events in appends))
        return await store.log.head()


async def measure(on: Servers) -> Sequence[Row]:
    """Events a second from a backlog into all read models, in transactions."""
    url = on.fresh_sqlite()
    events = await fill(url)
    async with open_event_log(url) as store, Mongo(on.mongodb.url, f"bench_{uuid4().hex[:8]}") as mongo:
        async with MongoView(mongo, READ_MODELS, "bench", LEASE_SECONDS) as view:
            projector = Projector(store.log, view, READ_MODELS, BATCH_MAX, LEASE_SECONDS)
            began = time.perf_counter()
            while await projector.turn():
                pass
            seconds = time.perf_counter() - began
        await mongo.client.drop_database(mongo.database.name)
    models = ", ".join(model.NAME for model in READ_MODELS)
    conditions = f"backlog of {events:,} events in SQLite, {EVENTS_EACH} an application; {models}; one projector"
    return [Row("projection_eps", events / seconds, "events/s", "≥ 8000", conditions)]
