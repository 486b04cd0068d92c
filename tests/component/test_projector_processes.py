"""Several projectors over one MongoDB: one works, the others stand by, and who was replaced commits nothing."""

import asyncio

import pytest

from infra.mongo import Mongo
from projections.mongo_view import MongoView
from projections.read_models import READ_MODELS
from projections.view import Advance, Fenced
from tests.builders import some_applications
from tests.fakes.event_log import FakeEventLog
from tests.projecting import (
    STORIES,
    append,
    catch_up,
    expect_all,
    position,
    projecting,
    the,
    until,
)

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
