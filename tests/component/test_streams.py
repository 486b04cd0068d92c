"""Streams through what can happen to them: slow clients, other replicas, an end, a database that is away."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from api import listeners, stream_sockets
from api.http_server import Connection
from api.listeners import KEPT_BYTES, Listener
from api.stream_sockets import OUR_BUFFER_BYTES
from infra.local_servers import free_port, start_mongodb
from infra.settings import Settings
from projections.update_feed import UpdateFeed
from tests.api import Api, User, a_story, running_api, serving, settings_for, until
from tests.streams import Event, EventStream, closed, event_stream, heard, websocket

QUICK = {"mongo_server_selection_timeout_ms": 300, "mongo_connect_timeout_ms": 300, "mongo_socket_timeout_ms": 500}
LONG = "x" * 20_000  # the reason of a failure
BURST = 100  # applications of a batch: one append, one commit, 101 updates


@pytest.fixture
def settings(sqlite_url: str, mongodb_uri: str, mongo_database: str) -> Settings:
    return settings_for(sqlite_url, mongodb_uri, mongo_database, port=free_port(), shutdown_grace_seconds=10)


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    async with running_api(settings) as api:
        yield api


async def submit_burst(user: User) -> None:
    items = orjson.dumps([{"jobs": [{}]}] * BURST).decode()
    assert (await user.ask("POST", "/batch/applications", data={"items": items})).status == 200


# -- slow clients -----------------------------------------------------------------------------------------------------


def kept_for_clients() -> tuple[int, int]:
    """Bytes that this process keeps for one client: of updates, and of what the kernel has not taken yet."""
    kept = [one._bytes for one in gc.get_objects() if type(one) is Listener]
    transports = [one.transport for one in gc.get_objects() if type(one) is Connection]
    sizes = [transport.get_write_buffer_size() for transport in transports if transport is not None]
    return max(kept, default=0), max(sizes, default=0)


async def test_who_never_reads_is_dropped_and_neither_holds_up_nor_grows(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stream_sockets, "SLOW_SECONDS", 0.5)
    ada = api.user()
    most_kept = most_written = 0
    async with event_stream(ada) as deaf, websocket(ada) as deaf_socket, event_stream(ada) as quick:
        dropped, told = list[dict[str, object]](), list[Event]()
        while len(dropped) < 2:
            await api.happened(a_story(ada).submitted().started().attempted().refused(reason=LONG).failed())
            told += await quick.some(3)
            kept, written = kept_for_clients()
            most_kept, most_written = max(most_kept, kept), max(most_written, written)
            dropped = [vars(one) for one in caplog.records if getattr(one, "event_type", "") == "stream_dropped"]
        assert [event.data["status"] for event in told] == ["pending", "processing", "failed"] * (len(told) // 3)
        assert most_kept < KEPT_BYTES + 2 * len(LONG)
        assert most_written < OUR_BUFFER_BYTES + most_kept
        assert [one["user_id"] for one in dropped] == [ada.id] * 2
        assert await closed(deaf_socket) == (1011, "Too slow to take its messages")
        missed = len(told) - len(await deaf.rest())
        assert (missed > 0, deaf.comments) == (True, ["Too slow to take its messages"])
    async with event_stream(ada, last=told[-missed - 1].id) as again:
        assert await again.some(missed) == told[-missed:]


async def test_who_is_slow_but_reads_misses_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for him is small: he is given the rest from the store, in his own time."""
    monkeypatch.setattr(listeners, "KEPT", 3)
    ada = api.user()
    async with event_stream(ada) as stream, websocket(ada) as socket:
        for _ in range(5):
            await submit_burst(ada)
        events = await stream.some(5 * (BURST + 1))
        assert [await heard(socket) for _ in events] == [event.data for event in events]
        await ada.submit()
        last = (await stream.some(1))[0]
        assert await heard(socket) == last.data
    ids = [int(event.id or 0) for event in [*events, last]]
    assert ids == list(range(ids[0], ids[0] + len(ids)))


# -- replicas ---------------------------------------------------------------------------------------------------------


async def test_who_comes_back_to_another_replica_misses_nothing_and_hears_nothing_twice(
    api: Api, settings: Settings
) -> None:
    async with running_api(settings, projected=False) as other:
        users = [api.user("ada"), other.user("ada")]

        async def submit_on() -> list[int]:
            return [(await user.submit()).position for user in users * 20]

        submitting = asyncio.create_task(submit_on())
        last, seen = "0", list[int]()
        for visit in range(20):
            async with event_stream(users[visit % 2], last=last) as stream:
                for event in await stream.some(2):
                    last = str(event.id)
                    seen.append(int(last))
        assert seen == await submitting


async def test_a_change_through_one_replica_is_told_by_the_other(api: Api, settings: Settings) -> None:
    async with running_api(settings, projected=False) as other, websocket(other.user("ada")) as socket:
        written = await api.user("ada").submit()
        assert (await heard(socket))["application_id"] == written.json["application_id"]


# -- the end ----------------------------------------------------------------------------------------------------------


async def test_at_the_end_of_the_server_each_gets_a_goodbye(settings: Settings) -> None:
    async with running_api(settings):
        pass  # the read models are built
    async with serving(settings) as (ada, stop, running), event_stream(ada) as stream, websocket(ada) as socket:
        async with asyncio.timeout(5):  # half of the grace
            stop.set()
            assert await closed(socket) == (1001, "The server shuts down")
            assert await stream.rest() == []
            assert stream.comments == ["The server shuts down"]
            await running


async def test_a_client_that_never_reads_does_not_hold_the_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_sockets, "CLOSING_SECONDS", 0.3)
    async with running_api(settings) as api:
        ada = api.user("ada")
        for _ in range(20):
            await submit_burst(ada)
        await ada.get("/applied", at_least=await api.event_store.log.head())
    async with serving(settings) as (ada, stop, running), event_stream(ada, last="0"), websocket(ada):
        await asyncio.sleep(0.3)  # much of the history is on its way
        stop.set()
        await asyncio.wait_for(running, 8)


# -- a database that is away ------------------------------------------------------------------------------------------


async def test_streams_live_through_a_database_that_is_away(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "BEGINNING_SECONDS", 1.0)
    mongodb = await start_mongodb(tmp_path / "mongodb")
    try:
        async with running_api(settings_for(sqlite_url, mongodb.url, "x", **QUICK)) as api:
            ada, bob = api.user(), api.user()
            async with event_stream(ada) as stream, websocket(ada) as socket:
                first = await ada.submit()
                [seen] = await stream.some(1)
                await heard(socket)
                await mongodb.pause()
                written = await ada.submit()
                async with event_stream(ada, last=seen.id) as came_back:
                    await mongodb.resume()
                    for one in (stream, came_back):
                        assert [event.id for event in await one.some(1)] == [str(written.position)]
                    assert (await heard(socket))["application_id"] == written.json["application_id"]
                assert seen.id == str(first.position)
            await until(nobody_listens, "nobody listens")
            await mongodb.pause()
            answer = await bob.get("/stream/status")
            assert (answer.status, answer.json["code"]) in {(503, "ERR_5002"), (503, "ERR_5003"), (503, "ERR_5004")}
            async with bob.http.ws_connect(f"{bob.url}/ws/status?token={bob.token}") as refused:
                assert (await closed(refused))[0] == 1011
            await mongodb.resume()
    finally:
        await mongodb.resume()
        await mongodb.stop()


async def nobody_listens() -> bool:
    """And the reader has noticed."""
    return all(one.told is None for one in gc.get_objects() if type(one) is UpdateFeed)


# -- what is told is true ---------------------------------------------------------------------------------------------


async def test_clients_that_come_and_go_under_load_hear_what_the_log_has(api: Api) -> None:
    """Each sees the changes of his own applications, in their order, over many visits."""

    async def follow(user: User) -> list[tuple[str, str]]:
        story = a_story(user).submitted(jobs=2).started().attempted(1, 2).refused(1).refused(2).failed()
        stories = [story, a_story(user).submitted().started().attempted().applied().succeeded()]
        appending = asyncio.gather(*map(api.happened, stories))
        last, seen = "0", list[tuple[str, str]]()
        while len(seen) < 6:
            async with event_stream(user, last=last) as stream:
                [event] = await stream.some(1)
                last = str(event.id)
                seen.append((event.data["application_id"], event.data["status"]))
        await appending
        first, second = (story.id.hex for story in stories)
        assert [status for id, status in seen if id == first] == ["pending", "processing", "failed"]
        assert [status for id, status in seen if id == second] == ["pending", "processing", "success"]
        return seen

    assert len(await asyncio.gather(*(follow(api.user()) for _ in range(20)))) == 20


async def test_a_stream_is_parsed_whatever_its_pieces(api: Api) -> None:
    """A reason with every character that the lines of an event could trip over."""
    ada = api.user()
    reason = 'a\nb\r\nc\rd\u2028e"\\: data: x\x00'
    async with event_stream(ada) as stream, websocket(ada) as socket:
        await api.happened(a_story(ada).submitted().started().attempted().refused(reason=reason).failed())
        events = await stream.some(3)
        assert events[-1].data["error_reason"] == reason
        assert [await heard(socket) for _ in range(3)][-1]["error_reason"] == reason
    assert isinstance(stream, EventStream)
