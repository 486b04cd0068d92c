"""The reconciler in a running relay, with real stores: what was lost from the queue comes back (design 7)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from consumers.reconciler import Reconciler
from domain.application_events import ApplicationSubmitted
from domain.commands import ApplicationCommands
from domain.errors import ReadModelBehind
from domain.event import Cause
from domain.job import CvReference
from domain.parked_decisions import DecisionCommands, EventSkipped
from domain.retry import RetryPolicy
from infra.clock import SystemClock
from infra.cv_store import COLLECTION, CvStore
from infra.event_log import EventStore
from infra.local_servers import free_port
from infra.mongo import Mongo
from infra.settings import Settings
from projections import status
from projections.projector import run_projector
from projections.queries import Queries
from tests.builders import a_job, an_application
from tests.component.consumers.at_work import relaying
from tests.fakes.clock import FakeClock
from tests.fakes.event_log import FakeEventLog
from tests.heart import Beats
from tests.projecting import project, with_picky
from tests.queues import Queues, content

CAUSE = Cause("user:ada", "c-1")


@pytest.fixture
def settings(queues: Queues, mongodb_uri: str, mongo_database: str) -> Settings:
    return queues.settings(claim_seconds=1, stuck_after_seconds=1, mongodb=mongodb_uri, mongodb_database=mongo_database)


@pytest.fixture
async def mongo(settings: Settings) -> AsyncIterator[Mongo]:
    async with Mongo.of(settings) as mongo:
        yield mongo


@asynccontextmanager
async def projecting(event_store: EventStore, mongo: Mongo, settings: Settings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    projector = asyncio.create_task(run_projector(event_store, mongo, settings, Beats(), stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(projector, 20)


async def test_work_that_was_purged_from_the_queue_comes_back_once(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, mongo: Mongo, queues: Queues
) -> None:
    work = queues.names.processing
    settings = settings.model_copy(update={"stuck_after_seconds": 5})  # then it comes again
    async with projecting(event_store, mongo, settings), relaying(event_store, settings):
        submitted = await commands.submit("ada", (a_job(),), None, None, CAUSE)
        await queues.until_depth(work, 1)
        await queues.purge(work)
        [message] = await queues.take(work, 1)
        assert content(message)["application_id"] == submitted.application_id.hex
        assert content(message)["version"] == 2
        assert await queues.depth(work) == 0


async def test_while_processing_is_switched_off_nothing_is_queued_again(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, mongo: Mongo
) -> None:
    off = settings.model_copy(update={"async_processing_enabled": False})
    async with projecting(event_store, mongo, off), relaying(event_store, off):
        await commands.submit("ada", (a_job(),), None, None, CAUSE)
        await asyncio.sleep(2.5)
    assert await event_store.log.head() == 1


async def test_the_relay_publishes_while_mongodb_is_away(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    nowhere = f"mongodb://127.0.0.1:{free_port()}/?replicaSet=rs0"
    away = settings.model_copy(update={"mongodb": nowhere, "mongo_server_selection_timeout_ms": 100})
    async with relaying(event_store, away):
        for _ in range(3):
            await commands.submit("ada", (a_job(),), None, None, CAUSE)
            await queues.take(queues.names.processing, 1)
            await asyncio.sleep(0.5)


async def test_cvs_that_nobody_names_are_removed_after_a_day(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, mongo: Mongo
) -> None:
    """Also by a relay whose clock is days ahead: one whose submission is about to be appended stays."""
    cvs = CvStore(mongo)
    named, unnamed, fresh = [await cvs.put("ada", b"%PDF-" + name) for name in (b"named", b"unnamed", b"fresh")]
    await commands.submit("ada", (a_job(),), None, named, CAUSE)
    await _make_old(mongo, named, unnamed)
    ahead = replace(commands, clock=FakeClock(SystemClock().now() + timedelta(days=3)))
    reconciler = _reconciler(ahead, mongo)
    async with projecting(event_store, mongo, settings):
        async with asyncio.timeout(10):
            while await cvs.read(unnamed.id) is not None:
                await _try_to_remove(reconciler)
    assert await cvs.read(named.id) == b"%PDF-named"
    assert await cvs.read(fresh.id) == b"%PDF-fresh"


async def test_a_cv_is_neither_removed_nor_marked_while_a_submission_is_parked_and_kept_once_it_was_skipped(
    mongo: Mongo,
) -> None:
    """`status` never tells of a submission that was skipped, but the log names its CV, and a retry needs it."""
    log, clock, cvs = FakeEventLog(), SystemClock(), CvStore(mongo)
    named, unnamed = [await cvs.put("ada", b"%PDF-" + name) for name in (b"named", b"unnamed")]
    await _make_old(mongo, named, unnamed)
    story = an_application().submitted(cv=named)
    models = with_picky(status, story.id, ApplicationSubmitted.NAME)
    reconciler = _reconciler(ApplicationCommands(log, clock, RetryPolicy()), mongo)
    await project(mongo, log, story, models=models)
    before = await mongo.database[COLLECTION].find().to_list(None)
    assert await reconciler.remove_unused_cvs() == 0
    assert await mongo.database[COLLECTION].find().to_list(None) == before
    skipped = EventSkipped(read_model=status.NAME, stream=story.id.hex, position=1, reason="poison")
    await DecisionCommands(log, clock).record(status.NAME, lambda _: [skipped], Cause("operator:grace"))
    await project(mongo, log, models=models)
    assert await reconciler.remove_unused_cvs() == 1
    assert await cvs.read(named.id) == b"%PDF-named"


def _reconciler(commands: ApplicationCommands, mongo: Mongo) -> Reconciler:
    """One that looks for CVs."""
    away: Any = None
    return Reconciler(commands, away, away, away, Queries(mongo, 2), CvStore(mongo), timedelta(1))


async def _make_old(mongo: Mongo, *cvs: CvReference) -> None:
    old, long_ago = {"_id": {"$in": [cv.id for cv in cvs]}}, SystemClock().now() - timedelta(days=2)
    await mongo.database[COLLECTION].update_many(old, {"$set": {"stored_at": long_ago}})


async def _try_to_remove(reconciler: Reconciler) -> None:
    with contextlib.suppress(ReadModelBehind):  # the projector may not have got there yet
        await reconciler.remove_unused_cvs()
    await asyncio.sleep(0.05)
