"""What can go wrong while a projector follows the log, and that it stops for nobody."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from domain.errors import NewerEvent, StoreFailed, StoreUnavailable
from domain.event import Event, RecordedEvent
from domain.ports import Append
from infra import metrics
from infra.local_servers import free_port, start_mongodb
from infra.mongo import Mongo, Pool
from projections import applied, failed, status, totals
from projections.mongo_view import MongoView
from projections.view import Advance
from tests.builders import a_job, an_application, some_applications
from tests.fakes.event_log import FakeEventLog
from tests.heart import Beats
from tests.projecting import (
    NAMES,
    STORIES,
    TWO_JOBS,
    append,
    at_head,
    catch_up,
    checkpoint,
    collection,
    documents,
    expect_all,
    folded,
    position,
    projecting,
    the,
    until,
    with_picky,
)

# -- trouble with a store ---------------------------------------------------------------------------------------------


@dataclass
class Unsure:
    """A view whose commits may be done although it says that the database was away."""

    view: MongoView
    lost_after: set[int]  # commits whose answer is lost, counted from 1
    lost_before: set[int]
    commits: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.view, name)

    async def commit(self, advances: Sequence[Advance]) -> None:
        self.commits += 1
        if self.commits in self.lost_before:
            raise StoreUnavailable("lost before")
        await self.view.commit(advances)
        if self.commits in self.lost_after:
            raise StoreUnavailable("lost after")


async def test_a_commit_whose_outcome_is_unknown_is_neither_repeated_nor_lost(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, *STORIES)
    heart, stop = Beats(), asyncio.Event()
    around: Callable[[MongoView], Any] = lambda view: Unsure(view, lost_after={1, 4}, lost_before={2, 6})  # noqa: E731
    async with projecting(mongo, log, batch_max=5, around=around) as projector:
        running = asyncio.create_task(projector.run(heart, stop))
        await until(lambda: at_head(mongo, log))
        stop.set()
        await running
    await expect_all(mongo, log)


async def test_it_waits_while_the_log_is_away_and_its_heart_beats(mongo: Mongo, log: FakeEventLog) -> None:
    heart, stop = Beats(), asyncio.Event()
    async with projecting(mongo, log) as projector:
        running = asyncio.create_task(projector.run(heart, stop))
        await until(lambda: at_head(mongo, log))
        log.trouble = StoreUnavailable("away")
        count = heart.count
        await until(lambda: beaten(heart, count + 3))
        log.trouble = None
        await append(log, *STORIES)
        await until(lambda: at_head(mongo, log))
        stop.set()
        await running


async def test_it_goes_on_when_mongodb_is_there_and_when_it_is_back(
    tmp_path: Path, log: FakeEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.mongo_view.CALL_SECONDS", 1.0)
    heart, stop, port = Beats(), asyncio.Event(), free_port()
    url = f"mongodb://127.0.0.1:{port}/?replicaSet=rs0"
    await append(log, STORIES[0])
    async with Mongo(url, "away", Pool(select_server=300)) as mongo, projecting(mongo, log) as projector:
        running = asyncio.create_task(projector.run(heart, stop))
        await until(lambda: beaten(heart, 2))
        server = await start_mongodb(tmp_path, port)
        try:
            await until(lambda: at_head(mongo, log), 40)
            await until(lambda: said(heart, True))
            await server.kill()
            await append(log, *STORIES[1:])
            count = heart.count
            await until(lambda: beaten(heart, count + 2))
            await until(lambda: said(heart, False))
            server = await start_mongodb(tmp_path, port)
            await until(lambda: at_head(mongo, log), 40)
            stop.set()
            await running
            await expect_all(mongo, log)
        finally:
            await server.stop()


async def said(heart: Beats, well: bool) -> bool:
    return heart.needs == {"read_models": well}


async def beaten(heart: Beats, times: int) -> bool:
    return heart.count >= times


async def test_it_ends_soon_although_mongodb_does_not_answer(log: FakeEventLog) -> None:
    stop = asyncio.Event()
    async with Mongo("mongodb://127.0.0.1:1/?replicaSet=rs0", "away") as mongo, projecting(mongo, log) as projector:
        running = asyncio.create_task(projector.run(Beats(), stop))
        await asyncio.wait([running], timeout=0.1)
        stop.set()
        await asyncio.wait_for(running, 5)


async def test_a_build_for_which_the_database_fails_rests_and_the_others_go_on(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, *STORIES)
    await mongo.database.create_collection("failed.1.1", viewOn="elsewhere", pipeline=[])  # nobody can write to it
    async with projecting(mongo, log, lease_seconds=0.05) as projector:
        await catch_up(projector)
        assert await position(mongo, "status") == await position(mongo, "applied") == await log.head()
        await mongo.database.drop_collection("failed.1.1")

        async def recovered() -> bool:
            await projector.turn()
            return await position(mongo, "failed") == await log.head()

        await until(recovered)
    await expect_all(mongo, log)


@dataclass
class Failing:
    """A view that cannot commit one build, until it is mended."""

    view: MongoView
    model: str
    broken: bool = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.view, name)

    async def commit(self, advances: Sequence[Advance]) -> None:
        if self.broken and any(advance.lease.build.model == self.model for advance in advances):
            raise StoreFailed("broken")
        await self.view.commit(advances)


async def test_one_that_cannot_be_written_does_not_hold_up_the_others(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, *STORIES)
    views: list[Failing] = []

    def failing(view: MongoView) -> Any:
        views.append(Failing(view, "applied"))
        return views[0]

    async with projecting(mongo, log, lease_seconds=0.05, around=failing) as projector:
        await catch_up(projector)
        head = await log.head()
        assert {name: await position(mongo, name) for name in NAMES} == dict.fromkeys(NAMES, head) | {"applied": 0}
        views[0].broken = False

        async def recovered() -> bool:
            await projector.turn()
            return await position(mongo, "applied") == await log.head()

        await until(recovered)
    await expect_all(mongo, log)


# -- poison -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_max", [1, 3, 1000])
async def test_a_poison_event_parks_its_stream_and_nothing_else(
    mongo: Mongo, log: FakeEventLog, batch_max: int
) -> None:
    await append(log, *STORIES)
    recorded = await log.read(0, 1000)
    models = with_picky(status, the(1), "application.job_attempted")
    async with projecting(mongo, log, models=models, batch_max=batch_max) as projector:
        await catch_up(projector)
    poisoned = next(one for one in recorded if one.event.NAME == "application.job_attempted")
    before = [one for one in recorded if one.stream_id != the(1) or one.position < poisoned.position]
    docs = await documents(mongo, "status")
    parked = docs.pop(f"parked:{the(1).hex}")
    assert docs == folded(status, before)
    assert parked["position"] == poisoned.position
    assert (parked["version"], parked["event_type"]) == (poisoned.version, "application.job_attempted")
    assert (parked["error"], parked["first_at"]) == (
        "ValueError: cannot take application.job_attempted",
        poisoned.metadata.at,
    )
    assert parked["waiting"] == len(STORIES[0].events) - poisoned.version
    assert (await checkpoint(mongo, "status") or {})["parked"] == 1
    assert metrics.PARKED_STREAMS.value(projection="status") == 1
    for model in (applied, failed, totals):
        assert await documents(mongo, model.NAME) == folded(model, recorded)


async def test_a_parked_stream_stays_parked_after_a_restart(mongo: Mongo, log: FakeEventLog) -> None:
    models = with_picky(status, the(1), "application.processing_started")
    head = await append(log, replace(TWO_JOBS, events=TWO_JOBS.events[:2]))
    async with projecting(mongo, log, "one", models) as projector:
        await catch_up(projector)
        await projector.leave()
    await log.append(Append(TWO_JOBS.recorded()[2:]))
    async with projecting(mongo, log, "two") as projector:
        await catch_up(projector)
        parked = (await documents(mongo, "status"))[f"parked:{the(1).hex}"]
    assert (parked["position"], parked["waiting"]) == (head, len(TWO_JOBS.events) - 2)
    assert await position(mongo, "status") == await log.head()


@pytest.mark.parametrize("batch_max", [1, 4, 1000])
async def test_what_mongodb_refuses_is_found_and_parks_its_stream(
    mongo: Mongo, log: FakeEventLog, batch_max: int
) -> None:
    await mongo.database.create_collection("applied.1.1", validator={"title": {"$ne": "Poison"}})
    poisoned = an_application(the(50)).submitted([a_job("Poison")]).started().attempted(1).applied(1).succeeded()
    await append(log, *STORIES[:2], poisoned, *STORIES[2:])
    async with projecting(mongo, log, batch_max=batch_max) as projector:
        await catch_up(projector)
    recorded = await log.read(0, 1000)
    docs = await documents(mongo, "applied")
    parked = docs.pop(f"parked:{the(50).hex}")
    assert docs == folded(applied, [one for one in recorded if one.stream_id != the(50)])
    assert (parked["event_type"], parked["waiting"]) == ("application.job_applied", 1)
    assert parked["error"].startswith("Refused: BulkWriteError: Document failed validation")
    assert await documents(mongo, "status") == folded(status, recorded)
    assert await position(mongo, "applied") == await log.head()


async def test_what_bson_cannot_hold_parks_its_stream(mongo: Mongo, log: FakeEventLog) -> None:
    story = an_application(the(50)).submitted().started().attempted(1).applied(1)
    result: Any = story.events[-1]
    huge = result.model_copy(update={"documents": result.documents.model_copy(update={"cover_letter": {"n": 2**70}})})
    await append(log, replace(story, events=(*story.events[:-1], huge)), *STORIES)
    async with projecting(mongo, log) as projector:
        await catch_up(projector)
    docs = await documents(mongo, "applied")
    assert docs.pop(f"parked:{the(50).hex}")["error"].startswith("Refused: OverflowError")
    assert docs == folded(applied, (await log.read(0, 1000))[len(story.events) :])


async def test_a_model_over_many_streams_stops_alone_and_says_so(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, *STORIES)
    recorded = await log.read(0, 1000)
    models = with_picky(totals, the(2), "application.job_failed")
    async with projecting(mongo, log, models=models) as projector:
        await catch_up(projector)
        poisoned = next(one for one in recorded if one.stream_id == the(2) and one.event.NAME.endswith("job_failed"))
        found = await checkpoint(mongo, "totals") or {}
        assert found["position"] == poisoned.position - 1
        assert (found["state"], found["error"]) == ("stopped", "ValueError: cannot take application.job_failed")
        assert await documents(mongo, "totals") == folded(totals, recorded[: poisoned.position - 1])
        await append(log, *some_applications(2, "eve"))
        await catch_up(projector)
        assert await position(mongo, "status") == await log.head()
        assert await position(mongo, "totals") == poisoned.position - 1
        await projector.leave()
    async with projecting(mongo, log, "mended") as projector:
        await catch_up(projector)
    await expect_all(mongo, log)
    assert ((await checkpoint(mongo, "totals")) or {})["state"] == "running"


async def test_totals_stop_also_when_mongodb_refuses_their_document(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, *STORIES)
    await mongo.database.create_collection(collection(mongo, "totals").name, validator={"user_id": {"$ne": "bob"}})
    async with projecting(mongo, log) as projector:
        await catch_up(projector)
    found = await checkpoint(mongo, "totals") or {}
    recorded = await log.read(0, 1000)
    assert found["state"] == "stopped"
    assert found["position"] == len(STORIES[0].events)
    assert await documents(mongo, "totals") == folded(totals, recorded[: found["position"]])
    assert await position(mongo, "status") == len(recorded)


# -- what this release does not know ----------------------------------------------------------------------------------


async def test_an_event_that_no_model_knows_ends_the_role_and_parks_nothing(mongo: Mongo, log: FakeEventLog) -> None:
    class Surprise(Event, name="test.surprise_for_the_projector"):
        pass

    await append(log, STORIES[0], replace(STORIES[1], events=(Surprise(),)))
    async with projecting(mongo, log) as projector:
        with pytest.raises(NewerEvent, match="surprise_for_the_projector"):
            await projector.run(Beats(), asyncio.Event())
    for name in NAMES:
        assert await checkpoint(mongo, name) is not None
        assert (await checkpoint(mongo, name) or {})["holder"] is None, "a newer process need not wait"
        assert await collection(mongo, name).count_documents({"stream": {"$exists": True}}) == 0


async def test_so_does_an_event_that_cannot_be_read(mongo: Mongo, log: FakeEventLog) -> None:
    class Newer(FakeEventLog):
        async def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
            raise NewerEvent("The log holds x version 2")

    async with projecting(mongo, Newer()) as projector:
        with pytest.raises(NewerEvent):
            await projector.run(Beats(), asyncio.Event())
