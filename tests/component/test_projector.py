"""The projector over a real MongoDB: it follows the log, survives what can happen, and stops for nobody."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest

from domain.errors import NewerEvent, StoreUnavailable
from domain.event import Event, RecordedEvent
from infra.event_log import open_event_log
from infra.mongo import Mongo
from infra.settings import Settings
from projections import applied, failed, status, totals
from projections.mongo_view import BUILDS, MongoView
from projections.projector import run_projector
from projections.read_model import Documents, ReadModel
from projections.read_models import READ_MODELS
from projections.view import Advance, Fenced
from tests.builders import APPLICATION_ID, Story, a_batch, a_job, an_application, some_applications
from tests.fakes.event_log import FakeEventLog
from tests.projecting import (
    append,
    catch_up,
    checkpoint,
    collection,
    documents,
    folded,
    position,
    projecting,
    raw_documents,
    until,
)

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


@pytest.fixture
async def mongo(mongodb_uri: str, mongo_database: str) -> AsyncIterator[Mongo]:
    async with Mongo(mongodb_uri, mongo_database) as opened:
        yield opened


@pytest.fixture
def log() -> FakeEventLog:
    return FakeEventLog()


class Beats:
    def __init__(self) -> None:
        self.count = 0

    def beat(self) -> None:
        self.count += 1


async def expect_all(mongo: Mongo, log: FakeEventLog) -> None:
    """The read models hold what folding the whole log gives."""
    recorded = await log.read(0, 1_000_000)
    for model in READ_MODELS:
        assert await documents(mongo, model.NAME) == folded(model, recorded), model.NAME
        assert await position(mongo, model.NAME) == len(recorded)


# -- following the log ------------------------------------------------------------------------------------------------


async def test_the_read_models_follow_the_log(mongo: Mongo, log: FakeEventLog) -> None:
    async with projecting(mongo, log) as projector:
        for story in STORIES:
            await append(log, story)
            await catch_up(projector)
            await expect_all(mongo, log)


@pytest.mark.parametrize("batch_max", [1, 2, 7, 1000])
async def test_however_large_its_batches_are(mongo: Mongo, log: FakeEventLog, batch_max: int) -> None:
    await append(log, *STORIES)
    async with projecting(mongo, log, batch_max=batch_max) as projector:
        await catch_up(projector)
    await expect_all(mongo, log)


async def test_dropped_and_built_anew_they_are_the_same_byte_for_byte(mongo: Mongo, log: FakeEventLog) -> None:
    async with projecting(mongo, log, batch_max=3) as projector:
        for story in STORIES:
            await append(log, story)
            await catch_up(projector)
    before = {name: await raw_documents(mongo, name) for name in NAMES}
    for name in await mongo.database.list_collection_names():
        await mongo.database.drop_collection(name)
    async with projecting(mongo, log) as projector:
        await catch_up(projector)
    assert {name: await raw_documents(mongo, name) for name in NAMES} == before


async def test_what_came_after_it_had_read_ahead_is_not_overlooked(mongo: Mongo, log: FakeEventLog) -> None:
    async with projecting(mongo, log, batch_max=2) as projector:
        await append(log, *some_applications(2))
        assert await projector.turn()  # a full batch: it has read ahead, and found nothing
        await append(log, *STORIES)
        assert await projector.turn()
        assert await position(mongo, "status") == 4


async def test_a_model_has_its_indexes(mongo: Mongo, log: FakeEventLog) -> None:
    async with projecting(mongo, log) as projector:
        await projector.turn()
    for model in READ_MODELS:
        have = await collection(mongo, model.NAME).index_information()
        assert {index.document["name"] for index in model.INDEXES} | {"_id_", "parked"} == set(have)


# -- which build is live ----------------------------------------------------------------------------------------------


async def live(mongo: Mongo) -> dict[str, int | None]:
    return {one["_id"]: one["live"] async for one in mongo.database[BUILDS].find()}


async def test_over_an_empty_log_the_first_build_is_live_at_once(mongo: Mongo, log: FakeEventLog) -> None:
    async with projecting(mongo, log) as projector:
        assert not await projector.turn()
    assert await live(mongo) == {f"{name}.1": 1 for name in NAMES}


async def test_else_it_is_live_once_it_has_caught_up(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, *some_applications(5))
    async with projecting(mongo, log, batch_max=2) as projector:
        for expected in (None, None, 1):
            assert await projector.turn()
            assert await live(mongo) == {f"{name}.1": expected for name in NAMES}


# -- dropped collections ----------------------------------------------------------------------------------------------


async def test_a_collection_that_is_dropped_is_built_anew_beside_the_others(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, *STORIES)
    async with projecting(mongo, log, lease_seconds=0.05) as projector:
        await catch_up(projector)
        await collection(mongo, "applied").drop()
        await append(log, *some_applications(3, "eve"))

        async def built_anew() -> bool:
            await projector.turn()
            return await position(mongo, "applied") == await log.head()

        await until(built_anew)
    await expect_all(mongo, log)
    assert (await live(mongo))["applied.1"] == 1
    assert "user_portal" in await collection(mongo, "applied").index_information()


async def test_a_dropped_build_is_not_live_before_it_has_caught_up(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, *some_applications(5))
    async with projecting(mongo, log) as projector:
        await catch_up(projector)
    await collection(mongo, "status").drop()
    async with projecting(mongo, log, batch_max=2) as projector:
        await projector.turn()
        assert await live(mongo) == {"status.1": None} | {f"{name}.1": 1 for name in NAMES if name != "status"}
        assert await position(mongo, "status") == 2


async def test_one_that_lags_does_not_hold_up_the_others_and_joins_them(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, *some_applications(20))
    async with projecting(mongo, log) as projector:
        await catch_up(projector)
    await collection(mongo, "failed").drop()
    async with projecting(mongo, log, batch_max=4) as projector:
        for turn in range(1, 5):
            await append(log, an_application(UUID(int=turn)).submitted())
            await projector.turn()
            assert await position(mongo, "status") == 20 + turn
            assert await position(mongo, "failed") == 4 * turn
        await catch_up(projector)
        assert len({active.lease.position for active in projector._holdings.active}) == 1


# -- several processes ------------------------------------------------------------------------------------------------


async def test_one_process_projects_and_the_others_stand_by(mongo: Mongo, log: FakeEventLog) -> None:
    async with projecting(mongo, log, "one") as one, projecting(mongo, log, "two") as two:
        await one.turn()
        await append(log, *STORIES)
        assert not await two.turn()
        assert await one.turn()
    await expect_all(mongo, log)


async def test_another_takes_over_when_the_first_is_silent(mongo: Mongo, log: FakeEventLog) -> None:
    async with projecting(mongo, log, "one", lease_seconds=0.2) as one, projecting(mongo, log, "two") as two:
        two._holdings.look_seconds = 0.02
        await one.turn()
        await append(log, *STORIES)

        async def taken() -> bool:
            await two.turn()
            return len(two._holdings.working) == len(READ_MODELS)

        await until(taken, 5)
        await catch_up(two)
        await append(log, *some_applications(2, "eve"))
        await one.turn()  # it does not know yet
        assert not one._holdings.working
        await catch_up(two)
    await expect_all(mongo, log)


async def test_who_was_replaced_commits_nothing(mongo: Mongo, log: FakeEventLog) -> None:
    async with MongoView(mongo, READ_MODELS, "one", 0.0) as one, MongoView(mongo, READ_MODELS, "two", 5.0) as two:
        [build, *_] = await one.builds()
        old = await one.take(build)
        new = await two.take(build)
        assert old is not None
        assert new is not None
        assert new.token == old.token + 1
        with pytest.raises(Fenced):
            await one.commit([Advance(old, 1, inserted=[{"_id": "x"}])])
        assert not await one.renew(old)
        await one.release(old)
        assert await two.renew(new)
        assert await one.take(build) is None
    assert await mongo.database[str(build)].count_documents({"_id": "x"}) == 0


async def test_a_commit_from_another_position_is_refused(mongo: Mongo) -> None:
    async with MongoView(mongo, READ_MODELS, "one", 5.0) as view:
        [build, *_] = await view.builds()
        lease = await view.take(build)
        assert lease is not None
        await view.commit([Advance(lease, 1, inserted=[{"_id": "x", "n": 1}])])
        with pytest.raises(Fenced):
            await view.commit([Advance(lease, 1, replaced=[{"_id": "x", "n": 2}])])
        assert (await view.load(build, ["x"]))["x"]["n"] == 1


async def test_what_a_killed_process_left_open_bars_nobody(mongo: Mongo, log: FakeEventLog) -> None:
    """Its transaction would live for a minute."""
    await append(log, *some_applications(2))
    async with MongoView(mongo, READ_MODELS, "killed", 0.0) as killed:
        builds = list(await killed.builds())
        leases = [await killed.take(build) for build in builds]
        killed._session.start_transaction()
        for lease in leases:
            assert lease is not None
            await killed._advance_checkpoint(Advance(lease, 1))
            await killed._write(Advance(lease, 1, inserted=[{"_id": the(0).hex}]))
        async with asyncio.timeout(5), projecting(mongo, log, "next") as projector:
            await catch_up(projector)
            assert await position(mongo, "status") == 2
        await expect_all(mongo, log)
        with pytest.raises(Exception, match="aborted"):
            await killed._session.commit_transaction()


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


async def at_head(mongo: Mongo, log: FakeEventLog) -> bool:
    return {await position(mongo, name) for name in NAMES} == {len(await log.read(0, 1_000_000))}


async def test_it_waits_while_the_log_is_away_and_its_heart_beats(mongo: Mongo, log: FakeEventLog) -> None:
    heart, stop = Beats(), asyncio.Event()
    async with projecting(mongo, log) as projector:
        running = asyncio.create_task(projector.run(heart, stop))
        await until(lambda: at_head(mongo, log))
        log.trouble = StoreUnavailable("away")
        beats = heart.count

        async def beaten_thrice() -> bool:
            return heart.count >= beats + 3

        await until(beaten_thrice)
        log.trouble = None
        await append(log, *STORIES)
        await until(lambda: at_head(mongo, log))
        stop.set()
        await running


async def test_it_goes_on_when_mongodb_is_back(tmp_path_factory: pytest.TempPathFactory, log: FakeEventLog) -> None:
    from infra.local_servers import start_mongodb

    folder = tmp_path_factory.mktemp("mongodb")
    server = await start_mongodb(folder)
    port = int(server.url.partition("127.0.0.1:")[2].partition("/")[0])
    heart, stop = Beats(), asyncio.Event()
    try:
        async with Mongo(server.url, "away") as mongo, projecting(mongo, log) as projector:
            running = asyncio.create_task(projector.run(heart, stop))
            await until(lambda: at_head(mongo, log))
            await server.kill()
            await append(log, *STORIES)
            server = await start_mongodb(folder, port)
            await until(lambda: at_head(mongo, log), 40)
            stop.set()
            await running
            await expect_all(mongo, log)
    finally:
        await server.stop()


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


# -- poison -----------------------------------------------------------------------------------------------------------


@dataclass
class Picky:
    """A read model that cannot take some event types of one stream."""

    model: ReadModel
    stream: UUID
    poison: frozenset[str]
    cured: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def touches(self, recorded: RecordedEvent) -> Iterable[str]:
        return self.model.touches(recorded)

    def apply(self, recorded: RecordedEvent, docs: Documents) -> None:
        self.model.apply(recorded, docs)
        if recorded.stream_id == self.stream and recorded.event.NAME in self.poison and not self.cured:
            raise ValueError(f"cannot take {recorded.event.NAME}")


def with_picky(model: ReadModel, stream: UUID, *poison: str) -> Sequence[ReadModel]:
    picky: Any = Picky(model, stream, frozenset(poison))
    return [picky if one is model else one for one in READ_MODELS]


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
    for model in (applied, failed, totals):
        assert await documents(mongo, model.NAME) == folded(model, recorded)


async def test_a_parked_stream_stays_parked_after_a_restart(mongo: Mongo, log: FakeEventLog) -> None:
    models = with_picky(status, the(1), "application.processing_started")
    head = await append(log, replace(TWO_JOBS, events=TWO_JOBS.events[:2]))
    async with projecting(mongo, log, "one", models) as projector:
        await catch_up(projector)
        await projector._leave()
    await log.append(append_of(TWO_JOBS, 2))
    async with projecting(mongo, log, "two") as projector:
        await catch_up(projector)
        parked = (await documents(mongo, "status"))[f"parked:{the(1).hex}"]
    assert (parked["position"], parked["waiting"]) == (head, len(TWO_JOBS.events) - 2)
    assert await position(mongo, "status") == await log.head()


def append_of(story: Story, after: int) -> Any:
    from domain.ports import Append

    return Append(story.recorded()[after:])


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
        await projector._leave()
    async with projecting(mongo, log, "mended") as projector:
        await catch_up(projector)
    await expect_all(mongo, log)
    assert ((await checkpoint(mongo, "totals")) or {})["state"] == "running"


async def test_totals_stop_also_when_mongodb_refuses_their_document(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, *STORIES)
    await mongo.database.create_collection("totals.1.1", validator={"user_id": {"$ne": "bob"}})
    async with projecting(mongo, log) as projector:
        await catch_up(projector)
    found = await checkpoint(mongo, "totals") or {}
    recorded = await log.read(0, 1000)
    assert found["state"] == "stopped"
    assert found["position"] == len(STORIES[0].events) + 4
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


# -- the role ---------------------------------------------------------------------------------------------------------


async def test_the_role_follows_a_real_log_and_ends_when_told(
    mongo: Mongo, mongodb_uri: str, event_store_url: str
) -> None:
    heart, stop = Beats(), asyncio.Event()
    settings = Settings(event_store=event_store_url, mongodb=mongodb_uri)
    async with open_event_log(event_store_url) as store:
        running = asyncio.create_task(run_projector(store, mongo, settings, heart, stop))
        for story in STORIES:
            head = await append(store.log, story)
        await until(lambda: reached(mongo, head))
        stop.set()
        await asyncio.wait_for(running, 2)
        recorded = await store.log.read(0, 1000)
    for model in READ_MODELS:
        assert await documents(mongo, model.NAME) == folded(model, recorded)
        assert (await checkpoint(mongo, model.NAME) or {})["holder"] is None
    assert heart.count


async def reached(mongo: Mongo, head: int) -> bool:
    return {await position(mongo, name) for name in NAMES} == {head}


async def test_who_stops_leaves_its_builds_to_the_next_at_once(mongo: Mongo, log: FakeEventLog) -> None:
    stop = asyncio.Event()
    async with projecting(mongo, log, "one", lease_seconds=600) as one:
        running = asyncio.create_task(one.run(Beats(), stop))
        await until(lambda: is_held(mongo))
        stop.set()
        await running
    async with projecting(mongo, log, "two") as two:
        await append(log, STORIES[0])
        assert await two.turn()


async def is_held(mongo: Mongo) -> bool:
    return {(await checkpoint(mongo, name) or {}).get("holder") for name in NAMES} == {"one"}
