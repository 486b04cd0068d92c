"""The projector over a real MongoDB: the read models follow the log, and are built anew when they are dropped."""

import asyncio
from uuid import UUID

import pytest

from infra.event_log import open_event_log
from infra.mongo import Mongo
from infra.settings import Settings
from projections.projector import run_projector
from projections.read_models import READ_MODELS
from projections.registry import BUILDS
from tests.builders import an_application, some_applications
from tests.fakes.event_log import FakeEventLog
from tests.heart import Beats
from tests.projecting import (
    NAMES,
    STORIES,
    append,
    catch_up,
    checkpoint,
    collection,
    documents,
    expect_all,
    folded,
    position,
    projecting,
    raw_documents,
    until,
)

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
    """By model; each has one schema version here."""
    return {one["_id"].partition(".")[0]: one["live"] async for one in mongo.database[BUILDS].find()}


async def test_over_an_empty_log_the_first_build_is_live_at_once(mongo: Mongo, log: FakeEventLog) -> None:
    async with projecting(mongo, log) as projector:
        assert not await projector.turn()
    assert await live(mongo) == dict.fromkeys(NAMES, 1)


async def test_else_it_is_live_once_it_has_caught_up(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, *some_applications(5))
    async with projecting(mongo, log, batch_max=2) as projector:
        for expected in (None, None, 1):
            assert await projector.turn()
            assert await live(mongo) == dict.fromkeys(NAMES, expected)


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
    assert (await live(mongo))["applied"] == 1
    assert "user_portal" in await collection(mongo, "applied").index_information()


async def test_a_dropped_build_is_not_live_before_it_has_caught_up(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, *some_applications(5))
    async with projecting(mongo, log) as projector:
        await catch_up(projector)
    await collection(mongo, "status").drop()
    async with projecting(mongo, log, batch_max=2) as projector:
        await projector.turn()
        assert await live(mongo) == dict.fromkeys(NAMES, 1) | {"status": None}
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


async def test_one_that_catches_up_stops_where_the_others_stand_and_goes_on_with_them(
    mongo: Mongo, log: FakeEventLog
) -> None:
    await append(log, *some_applications(22))
    async with projecting(mongo, log) as projector:
        await catch_up(projector)
    await collection(mongo, "failed").drop()
    async with projecting(mongo, log, batch_max=20) as projector:
        await projector.turn()
        await append(log, *(an_application(UUID(int=n)).submitted() for n in range(1, 9)))
        projector._batch_max = 4
        await projector.turn()
        assert {await position(mongo, name) for name in NAMES} == {22 + 4}


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
        await asyncio.wait_for(running, 10)
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
