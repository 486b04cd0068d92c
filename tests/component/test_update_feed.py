"""The reader of the updates over a real MongoDB: nothing is told twice, too early or not at all, whatever happens."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from domain.errors import ReadModelBehind, StoreUnavailable
from infra.local_servers import start_mongodb
from infra.mongo import Mongo, Pool
from projections import status, update_feed, updates
from projections.live import LiveBuilds
from projections.projector import Projector
from projections.read_models import READ_MODELS
from projections.registry import BUILDS
from projections.stored_updates import History, Update, UpdateId
from projections.update_feed import UpdateFeed
from tests.builders import ApplicationStory, an_application
from tests.fakes.event_log import FakeEventLog
from tests.projecting import STORIES, append, catch_up, collection, position, projecting, until

OTHERS = [model for model in READ_MODELS if model is not status]
QUICK = Pool(select_server=300, connect=300, answer=1_000)


@dataclass(slots=True)
class Hearing:
    """What was told, in its order."""

    feed: UpdateFeed = field(init=False)
    told: list[Update] = field(default_factory=list)

    async def hear(self, update: Update) -> None:
        self.told.append(update)

    @property
    def ids(self) -> list[UpdateId]:
        return [update.id for update in self.told]

    async def hears(self, position: int) -> None:
        """Waits for what an event at that position has led to."""

        async def heard() -> bool:
            return bool(self.told) and self.told[-1].id.position >= position

        await until(heard)


@asynccontextmanager
async def hearing(mongo: Mongo) -> AsyncIterator[Hearing]:
    """Somebody who listens from now on."""
    hearing = Hearing()
    hearing.feed = UpdateFeed(mongo, hearing.hear)
    hearing.feed.join()
    try:
        assert await hearing.feed.found(15)
        yield hearing
    finally:
        hearing.feed.leave()
        await hearing.feed.close()


def a_submission(number: int) -> ApplicationStory:
    return an_application(UUID(int=number)).submitted()


async def stored(mongo: Mongo, build: str = "updates.1.1") -> list[UpdateId]:
    found = await mongo.database[build].find({"user_id": {"$exists": True}}).sort("_id").to_list(None)
    return [Update.of(one).id for one in found]


@pytest.fixture
async def projector(mongo: Mongo, log: FakeEventLog) -> AsyncIterator[Projector]:
    """Its read models are live. It looks after its leases in every turn."""
    async with projecting(mongo, log, lease_seconds=0.05) as projector:
        await catch_up(projector)
        yield projector


async def is_rebuilt(mongo: Mongo, log: FakeEventLog, projector: Projector, build: str = "updates") -> bool:
    await projector.turn()
    return await position(mongo, build) == await log.head()


# -- what is told -----------------------------------------------------------------------------------------------------


async def test_every_update_is_told_once_in_order(mongo: Mongo, log: FakeEventLog, projector: Projector) -> None:
    last = 0
    async with hearing(mongo) as heard:
        for story in (*STORIES, *map(a_submission, range(1, 61))):
            last = await append(log, story)
            await projector.turn()
        await heard.hears(last)
        assert heard.ids == await stored(mongo)
        assert heard.feed.told == heard.ids[-1]


async def test_what_was_there_before_is_history(mongo: Mongo, log: FakeEventLog, projector: Projector) -> None:
    last = await append(log, *STORIES)
    await catch_up(projector)
    async with hearing(mongo) as heard:
        assert heard.feed.told == UpdateId.last_of(last)
        last = await append(log, a_submission(1))
        await projector.turn()
        await heard.hears(last)
        assert heard.ids == [UpdateId(last)]


async def test_who_listens_again_hears_what_comes_then(mongo: Mongo, log: FakeEventLog, projector: Projector) -> None:
    async with hearing(mongo) as heard:
        await append(log, a_submission(1))
        await projector.turn()
        await heard.hears(1)
        heard.feed.leave()
        await until(lambda: _is_idle(heard.feed))
        await append(log, a_submission(2))
        await projector.turn()
        heard.feed.join()
        assert await heard.feed.found(15)
        last = await append(log, a_submission(3))
        await projector.turn()
        await heard.hears(last)
        assert heard.ids == [UpdateId(1), UpdateId(3)]


async def _is_idle(feed: UpdateFeed) -> bool:
    return feed.told is None


# -- not before the other read models show it -------------------------------------------------------------------------


@asynccontextmanager
async def two_projectors(mongo: Mongo, log: FakeEventLog) -> AsyncIterator[tuple[Projector, Projector]]:
    """One of the `status` read model, one of all others. They are live."""
    async with (
        projecting(mongo, log, "one", models=[status]) as of_status,
        projecting(mongo, log, "two", models=OTHERS) as of_others,
    ):
        for projector in (of_status, of_others):
            await catch_up(projector)
        yield of_status, of_others


async def test_an_update_is_held_until_every_read_model_has_it(mongo: Mongo, log: FakeEventLog) -> None:
    async with two_projectors(mongo, log) as (of_status, of_others), hearing(mongo) as heard:
        await append(log, a_submission(1), a_submission(2))
        await catch_up(of_others)
        await asyncio.sleep(0.5)  # it would be told by now
        assert heard.ids == []
        await catch_up(of_status)
        await heard.hears(2)
        assert heard.ids == [UpdateId(1), UpdateId(2)]


async def test_who_comes_while_one_lags_begins_where_all_are(mongo: Mongo, log: FakeEventLog) -> None:
    async with two_projectors(mongo, log) as (of_status, of_others):
        await append(log, a_submission(1))
        await catch_up(of_others)
        heard = Hearing()
        heard.feed = UpdateFeed(mongo, heard.hear)
        heard.feed.join()
        try:
            assert not await heard.feed.found(0.5)
            await catch_up(of_status)
            assert await heard.feed.beginning(5) == UpdateId.last_of(1)
            assert heard.ids == []
        finally:
            await heard.feed.close()


async def test_one_that_stands_still_does_not_hold_them_for_ever(
    mongo: Mongo, log: FakeEventLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(update_feed, "HOLD_SECONDS", 0.2)
    async with two_projectors(mongo, log) as (of_status, of_others), hearing(mongo) as heard:
        await append(log, a_submission(1))
        await catch_up(of_others)
        await heard.hears(1)
        warned = [one.message for one in caplog.records if one.levelno >= logging.WARNING]
        assert warned == ["updates do not wait for status"]
        monkeypatch.setattr(update_feed, "HOLD_SECONDS", 600.0)
        await append(log, a_submission(2))
        await catch_up(of_others)
        await heard.hears(2)
        await catch_up(of_status)  # it is waited for again
        await append(log, a_submission(3))
        await catch_up(of_others)
        await asyncio.sleep(0.5)
        assert heard.ids == [UpdateId(1), UpdateId(2)]
        await catch_up(of_status)
        await heard.hears(3)


# -- whatever happens to the builds -----------------------------------------------------------------------------------


async def test_a_dropped_read_model_is_waited_for_and_goes_on(
    mongo: Mongo, log: FakeEventLog, projector: Projector
) -> None:
    async with hearing(mongo) as heard:
        await append(log, *STORIES)
        await catch_up(projector)
        for name in ("updates", "status", "updates"):
            await collection(mongo, name).drop()
            last = await append(log, a_submission(await log.head()))
            await until(lambda name=name: is_rebuilt(mongo, log, projector, name))  # type: ignore[misc]
            await heard.hears(last)
        assert heard.ids == await stored(mongo)


async def test_all_dropped_at_once_is_waited_for(mongo: Mongo, log: FakeEventLog, projector: Projector) -> None:
    async with hearing(mongo) as heard:
        await append(log, *STORIES)
        await catch_up(projector)
        await heard.hears(1)
        await mongo.client.drop_database(mongo.database.name)
        last = await append(log, a_submission(1))
        await until(lambda: is_rebuilt(mongo, log, projector))
        await heard.hears(last)
        assert heard.ids == await stored(mongo)


async def test_another_live_build_goes_on_where_the_one_before_was(
    mongo: Mongo, log: FakeEventLog, projector: Projector
) -> None:
    registry = mongo.database[BUILDS]
    async with hearing(mongo) as heard:
        await append(log, *STORIES)
        await registry.update_one({"_id": "updates.1"}, {"$set": {"numbers": [1, 2]}})

        async def is_built() -> bool:
            await projector.turn()
            return await stored(mongo, "updates.1.2") == await stored(mongo) != []

        await until(is_built)
        for live in (2, 1, 2):
            await registry.update_one({"_id": "updates.1"}, {"$set": {"live": live}})
            last = await append(log, a_submission(await log.head()), a_submission(await log.head() + 1))
            await catch_up(projector)
        await registry.update_one({"_id": "updates.1"}, {"$set": {"numbers": [2]}})
        async with projecting(mongo, log, "another") as another:  # it leaves the other build alone
            last = await append(log, a_submission(1000))
            await until(lambda: is_rebuilt(mongo, log, another, "status"))
            await heard.hears(last)
            await collection(mongo, "updates").drop()
            last = await append(log, a_submission(1001))
            await catch_up(another)
            await heard.hears(last)
        assert heard.ids == await stored(mongo, "updates.1.2")


# -- whatever happens to the database ---------------------------------------------------------------------------------


async def test_a_stream_that_the_server_ends_is_opened_anew(
    mongo: Mongo, log: FakeEventLog, projector: Projector
) -> None:
    async with hearing(mongo) as heard:
        for number in range(1, 4):
            last = await append(log, a_submission(number))
            await projector.turn()
            await heard.hears(last)
            await _end_change_streams(mongo)
            await append(log, a_submission(number + 100))
            await projector.turn()
        last = await append(log, a_submission(1000))
        await projector.turn()
        await heard.hears(last)
        assert heard.ids == await stored(mongo)


async def _end_change_streams(mongo: Mongo) -> None:
    """As a failover does it. What the reader heard last may have come before its stream was open again."""

    async def one_has_ended() -> bool:
        own = {"ns": {"$regex": f"^{mongo.database.name}[.][$]cmd"}, "cursor": {"$exists": True}}
        running = mongo.client.admin.aggregate(
            [{"$currentOp": {"idleCursors": True, "localOps": True}}, {"$match": own}]
        )
        ids = [one["cursor"]["cursorId"] for one in await running.to_list(None)]
        if not ids:
            return False
        ended = await mongo.database.command({"killCursors": "$cmd.aggregate", "cursors": ids})
        return bool(ended["cursorsKilled"])

    await until(one_has_ended)


async def test_a_database_that_was_away_is_gone_on_with(tmp_path: Path, log: FakeEventLog) -> None:
    server = await start_mongodb(tmp_path / "mongodb")
    try:
        async with Mongo(server.url, "x", QUICK) as mongo, projecting(mongo, log, lease_seconds=0.05) as projector:
            await catch_up(projector)
            async with hearing(mongo) as heard:
                await append(log, *STORIES)
                await catch_up(projector)
                await heard.hears(1)
                await server.kill()
                last = await append(log, *map(a_submission, range(1, 301)))
                server = await start_mongodb(tmp_path / "mongodb", urlsplit(server.url).port)

                async def caught_up() -> bool:
                    try:
                        return await is_rebuilt(mongo, log, projector)
                    except StoreUnavailable:
                        projector._holdings.forget()
                        return False

                await until(caught_up, 30)
                await heard.hears(last)
                assert heard.ids == await stored(mongo)
    finally:
        await server.stop()


async def test_without_a_database_there_is_no_beginning() -> None:
    async with Mongo("mongodb://127.0.0.1:1/?replicaSet=rs0", "x", QUICK) as mongo:
        feed = UpdateFeed(mongo, Hearing().hear)
        feed.join()
        with pytest.raises(StoreUnavailable):
            await feed.beginning(1.0)
        await feed.close()


async def test_before_it_is_built_there_is_no_beginning(mongo: Mongo) -> None:
    feed = UpdateFeed(mongo, Hearing().hear)
    feed.join()
    with pytest.raises(ReadModelBehind):
        await feed.beginning(0.2)
    await feed.close()


# -- history ----------------------------------------------------------------------------------------------------------


async def told_to(mongo: Mongo, user: str, after: UpdateId, upto: UpdateId, *named: str) -> Sequence[UpdateId]:
    pages = History(mongo, LiveBuilds(mongo)).pages(user, after, upto, named)
    return [update.id async for page in pages for update in page]


async def test_history_is_all_between_two_ids_of_one_user(
    mongo: Mongo, log: FakeEventLog, projector: Projector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.stored_updates.PAGE", 2)
    last = await append(log, *STORIES)
    await catch_up(projector)
    all_of_it = await told_to(mongo, "ada", UpdateId(0), UpdateId.last_of(last))
    everybodys = await collection(mongo, updates.NAME).find({"user_id": "ada"}).sort("_id").to_list(None)
    assert all_of_it == [Update.of(one).id for one in everybodys]
    assert await told_to(mongo, "ada", all_of_it[1], all_of_it[4]) == all_of_it[2:5]
    assert await told_to(mongo, "nobody", UpdateId(0), UpdateId.last_of(last)) == []
    [first] = {one["application_id"] for one in everybodys if one["_id"] == all_of_it[0].stored}
    named = [one["_id"] for one in everybodys if one.get("application_id") == first]
    told = await told_to(mongo, "ada", UpdateId(0), UpdateId.last_of(last), first)
    assert [id.stored for id in told] == named


async def test_history_beyond_what_the_read_model_has_is_not_taken_for_all(
    mongo: Mongo, log: FakeEventLog, projector: Projector
) -> None:
    last = await append(log, *STORIES)
    await catch_up(projector)
    with pytest.raises(ReadModelBehind):
        await told_to(mongo, "ada", UpdateId(0), UpdateId(last + 1))
    await collection(mongo, updates.NAME).drop()
    with pytest.raises(ReadModelBehind):
        await told_to(mongo, "ada", UpdateId(0), UpdateId(last))
