"""The connections to MongoDB: what is refused at start, what errors become, what is counted."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from domain.errors import StoreFailed, StoreTimeout, StoreUnavailable
from infra import metrics
from infra.local_servers import Running, free_port, start_mongodb
from infra.mongo import Mongo, MongoNotReplicaSet, Pool, leave, mongo_errors, transaction
from infra.mongo_metrics import collection_of
from infra.settings import Settings
from tests.fakes.event_log import FakeEventLog
from tests.heart import Beats
from tests.projecting import projecting
from tests.standalone_mongodb import standalone_mongodb


@pytest.fixture
async def standalone(mongodb_server: Running, tmp_path: Path) -> AsyncIterator[str]:
    """A server that is in no replica set."""
    port = free_port()
    async with standalone_mongodb(mongodb_server, tmp_path, port):
        yield f"mongodb://127.0.0.1:{port}"


async def entered(uri: str) -> None:
    """Raises MongoNotReplicaSet; waits until the server is up."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(StoreUnavailable):
                async with Mongo(uri, "x") as mongo:
                    return await mongo.ping()


async def test_a_standalone_server_stops_the_start_with_a_line_that_says_what_to_do(standalone: str) -> None:
    with pytest.raises(MongoNotReplicaSet, match=r"^[^\n]*--replSet[^\n]*$"):
        await entered(standalone)


async def test_a_projector_that_finds_one_later_ends_with_that_line(standalone: str, log: FakeEventLog) -> None:
    mongo = Mongo(standalone, "x", Pool(select_server=200))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("infra.mongo.START_SECONDS", 0.001)  # as if it were not there yet
        await mongo.__aenter__()
    try:
        async with asyncio.timeout(30), projecting(mongo, log) as projector:
            with pytest.raises(MongoNotReplicaSet):
                await projector.run(Beats(), asyncio.Event())
    finally:
        await mongo.__aexit__()


async def test_one_that_is_away_at_start_is_waited_for(tmp_path: Path) -> None:
    port = free_port()
    async with Mongo(f"mongodb://127.0.0.1:{port}/?replicaSet=rs0", "x", Pool(select_server=200)) as mongo:
        failed = {"operation": "connect", "collection": "none", "status": "error"}
        before = metrics.DB_OPERATIONS_TOTAL.value(**failed)
        with pytest.raises(StoreUnavailable):
            await mongo.ping()
        assert metrics.DB_OPERATIONS_TOTAL.value(**failed) == before + 1
        server = await start_mongodb(tmp_path, port)
        try:
            await entered(server.url)
            await mongo.ping()
        finally:
            await server.stop()


async def test_the_settings_reach_the_client(mongodb_uri: str) -> None:
    settings = Settings(mongodb=mongodb_uri, mongodb_database="other", mongo_max_pool_size=7, mongo_min_pool_size=1)
    async with Mongo.of(settings) as mongo:
        options: Any = mongo.client.options
        assert mongo.database.name == "other"
        assert (options.pool_options.max_pool_size, options.pool_options.min_pool_size) == (7, 1)
        assert options.server_selection_timeout == 5
        assert (options.pool_options.connect_timeout, options.pool_options.socket_timeout) == (5, 30)
        assert options.write_concern.document == {"w": "majority", "j": True, "wtimeout": 30_000}
        assert options.retry_writes


async def test_a_server_that_does_not_answer_is_a_timeout(tmp_path: Path) -> None:
    server = await start_mongodb(tmp_path)
    try:
        async with Mongo(server.url, "x", Pool(answer=300, select_server=600)) as mongo:
            await server.pause()
            with pytest.raises((StoreTimeout, StoreUnavailable)):
                await ping_within(mongo, 1.0)
            await server.resume()
    finally:
        await server.stop()


async def ping_within(mongo: Mongo, seconds: float) -> None:
    with mongo_errors(seconds):
        await mongo.ping()


async def test_a_refused_command_is_a_failure_that_tells_nothing_of_it(mongo: Mongo) -> None:
    with pytest.raises(StoreFailed) as caught, mongo_errors():
        await mongo.database.command("nonsense", "secret")
    assert str(caught.value) == "The database refused the command"


async def test_each_command_is_counted_with_its_collection(mongo: Mongo) -> None:
    found = {"operation": "find", "collection": "status", "status": "success"}
    failed = {"operation": "nonsense", "collection": "cvs", "status": "error"}
    before = metrics.DB_OPERATIONS_TOTAL.value(**found), metrics.DB_OPERATIONS_TOTAL.value(**failed)
    seen = metrics.DB_OPERATION_DURATION_SECONDS.count(operation="find", collection="status")
    await mongo.database["status.1.27"].find_one({})
    with pytest.raises(StoreFailed), mongo_errors():
        await mongo.database.command("nonsense", "cvs")
    after = metrics.DB_OPERATIONS_TOTAL.value(**found), metrics.DB_OPERATIONS_TOTAL.value(**failed)
    assert after == (before[0] + 1, before[1] + 1)
    assert metrics.DB_OPERATION_DURATION_SECONDS.count(operation="find", collection="status") == seen + 1
    assert metrics.MONGODB_CONNECTION_POOL_AVAILABLE.value() == 100


def test_every_command_has_a_collection_to_count_under() -> None:
    assert collection_of("getMore", {"getMore": 5, "collection": "applied.1.2"}) == "applied"
    assert collection_of("aggregate", {"aggregate": 1}) == "none"
    assert collection_of("commitTransaction", {"commitTransaction": 1}) == "none"


async def test_a_session_that_another_projector_ended_is_no_refusal(mongodb_uri: str, mongo_database: str) -> None:
    """Two that were cut off come back at once: who takes a build ends what its former holder has under way."""
    async with Mongo(mongodb_uri, mongo_database) as mongo, await mongo.client.start_session() as session:
        await mongo.database["some"].insert_one({"_id": 1})

        async def look() -> None:
            with mongo_errors():
                await mongo.database["some"].find_one({"$where": "sleep(5000) || true"}, session=session)

        looking = asyncio.create_task(look())
        ended = {"killSessions": [session.session_id]}
        async with asyncio.timeout(15):
            while not looking.done():
                await asyncio.sleep(0.1)
                await mongo.client.admin.command(ended)
        with pytest.raises(StoreUnavailable):
            await looking


# -- transactions -----------------------------------------------------------------------------------------------------

BUSY = {"$expr": {"$function": {"body": "function() { sleep(1500); return true; }", "args": [], "lang": "js"}}}


async def test_a_transaction_that_is_cancelled_leaves_nothing_behind(mongodb_server: Running) -> None:
    """Its command waits for a connection; once it gets one, no abort may have made it a command of its own."""
    async with Mongo(mongodb_server.url, "cancelled", Pool(most=1)) as mongo, Mongo(mongodb_server.url, "x") as other:
        collection = mongo.database["things"]
        await collection.insert_one({"_id": 0})
        session = await mongo.client.start_session()
        busy = asyncio.ensure_future(collection.find_one(BUSY))
        await asyncio.sleep(0.3)

        async def change() -> None:
            async with transaction(session):
                await collection.insert_one({"_id": 1}, session=session)

        changing = asyncio.create_task(change())
        await asyncio.sleep(0.3)
        changing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await changing
        assert await busy
        assert await collection.count_documents({}) == 1  # over the one connection, so after the other command
        await leave(session)
        await other.client.admin.command({"killSessions": [session.session_id]})
        assert await collection.count_documents({}) == 1


async def test_a_transaction_is_done_or_undone(mongodb_server: Running) -> None:
    async with Mongo(mongodb_server.url, "undone") as mongo:
        collection = mongo.database["things"]
        await collection.insert_one({"_id": 0})
        session = await mongo.client.start_session()

        async def fails() -> None:
            async with transaction(session):
                await collection.insert_one({"_id": 1}, session=session)
                raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await fails()
        async with transaction(session):
            await collection.insert_one({"_id": 2}, session=session)
        await leave(session)
        assert [one["_id"] async for one in collection.find()] == [0, 2]
