"""WebSockets (contract http.md 12)."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest
import pytest_asyncio

from infra import metrics
from tests.api import Api, User, a_story, running_api, settings_for, token_of, until
from tests.streams import closed, event_stream, heard, websocket

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST, PING_SECONDS = 3, 0.4
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(mongodb_uri: str, api_database: str, api_folder: Path) -> AsyncIterator[Api]:
    url = f"sqlite:///{api_folder}/events.db"
    settings = settings_for(
        url, mongodb_uri, api_database, ws_max_connections_per_user=MOST, ws_ping_interval_seconds=PING_SECONDS
    )
    async with running_api(settings) as api:
        yield api


async def updates(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[dict[str, object]]:
    """So many messages, but for pings."""
    found: list[dict[str, object]] = []
    while len(found) < count:
        message = await heard(socket)
        found += [] if message["type"] == "ping" else [message]
    return found


# -- what the server says ---------------------------------------------------------------------------------------------


async def test_every_change_of_the_status_is_told_in_order(api: Api, ada: User) -> None:
    story = a_story(ada).submitted(jobs=2).started().attempted(1, 2).applied(1).refused(2, "Closed").failed().retried()
    async with websocket(ada) as socket:
        await api.happened(story)
        told = await updates(socket, 4)
    assert [message["status"] for message in told] == ["pending", "processing", "failed", "pending"]
    assert {message["type"] for message in told} == {"status_update"}
    assert {message["application_id"] for message in told} == {story.id.hex}
    assert {message["job_count"] for message in told} == {2}
    assert [message.get("error_reason") for message in told] == [None, None, "Closed", None]
    assert all(str(message["timestamp"]).endswith("Z") for message in told)
    assert [set(message) - {"error_reason"} for message in told] == [
        {"type", "application_id", "status", "timestamp", "job_count"}
    ] * 4
    assert "error_reason" not in told[0]


async def test_a_batch_is_told_when_created_and_when_an_item_ends(ada: User) -> None:
    async with websocket(ada) as socket:
        items = orjson.dumps([{"jobs": [{}]}] * 2).decode()
        batch = await ada.ask("POST", "/batch/applications", data={"items": items})
        await ada.ask("DELETE", f"/applications/{batch.json['results'][0]['application_id']}")
        told = await updates(socket, 5)
    assert [message["type"] for message in told] == ["status_update"] * 2 + [
        "batch_update",
        "status_update",
        "batch_update",
    ]
    assert [(told[n]["status"], told[n]["total"], told[n]["processed"]) for n in (2, 4)] == [
        ("pending", 2, 0),
        ("pending", 2, 1),
    ]
    assert set(told[2]) == {"type", "batch_id", "status", "total", "processed", "succeeded", "failed", "timestamp"}


async def test_every_connection_of_the_user_is_told_and_no_other(ada: User, bob: User) -> None:
    async with websocket(ada) as one, websocket(ada) as other, websocket(bob) as bobs:
        his, hers = await bob.submit(), await ada.submit()
        for socket in (one, other):
            [told] = await updates(socket, 1)
            assert told["application_id"] == hers.json["application_id"]
        [told] = await updates(bobs, 1)
        assert told["application_id"] == his.json["application_id"]


async def test_nothing_is_replayed(ada: User) -> None:
    async with websocket(ada) as socket:
        await ada.submit()
        await updates(socket, 1)
    missed = await ada.submit()
    async with event_stream(ada, last="0") as stream:
        await stream.some(2)  # by now it has been told
    async with websocket(ada) as socket:
        written = await ada.submit()
        [told] = await updates(socket, 1)
    assert told["application_id"] == written.json["application_id"] != missed.json["application_id"]


async def test_a_silent_client_is_pinged_and_need_not_answer(ada: User) -> None:
    async with websocket(ada) as socket:
        began = asyncio.get_running_loop().time()
        for number in (1, 2):
            message = await heard(socket)
            assert (message["type"], set(message)) == ("ping", {"type", "timestamp"})
            assert asyncio.get_running_loop().time() - began > number * PING_SECONDS * 0.9
        await ada.submit()
        assert (await updates(socket, 1))[0]["status"] == "pending"


async def test_who_says_something_is_not_pinged(ada: User) -> None:
    async with websocket(ada) as socket:
        for _ in range(8):
            await asyncio.sleep(PING_SECONDS / 4)
            await socket.send_str("ping")
            assert (await socket.receive(5)).data == "pong"


# -- what the client says ---------------------------------------------------------------------------------------------


async def test_a_plain_ping_gets_a_plain_pong_and_one_in_json_one_in_json(ada: User) -> None:
    async with websocket(ada) as socket:
        await socket.send_str("ping")
        assert (await socket.receive(5)).data == "pong"
        await socket.send_str('{"type": "ping"}')
        pong = await heard(socket)
        assert (pong["type"], set(pong)) == ("pong", {"type", "timestamp"})


async def test_anything_else_is_ignored(ada: User) -> None:
    async with websocket(ada) as socket:
        for text in ("", "pong", "PING", "{", "[1]", '{"type": "pong"}', '{"type": ["ping"]}', "null", "x" * 4096):
            await socket.send_str(text)
        await socket.send_bytes(b"ping")
        await socket.send_bytes(b"\xff" * 4096)
        await socket.send_str("ping")
        assert (await socket.receive(5)).data == "pong"


@pytest.mark.parametrize("binary", [False, True])
async def test_a_message_over_4_kib_closes_it(ada: User, binary: bool) -> None:
    async with websocket(ada) as socket:
        await (socket.send_bytes(b"x" * 4097) if binary else socket.send_str("x" * 4097))
        assert (await closed(socket))[0] == 1009


async def test_a_protocol_ping_is_answered(ada: User) -> None:
    async with websocket(ada, autoping=False) as socket:
        await socket.ping(b"alive?")
        message = await socket.receive(5)
        assert (message.type, bytes(message.data)) == (aiohttp.WSMsgType.PONG, b"alive?")


# -- who may ----------------------------------------------------------------------------------------------------------


async def test_a_client_that_is_no_browser_may_send_the_token_in_the_header(ada: User) -> None:
    headers = {"Authorization": f"Bearer {ada.token}"}
    async with ada.http.ws_connect(f"{ada.url}/ws/status", headers=headers) as socket:
        assert (await heard(socket))["type"] == "connected"


@pytest.mark.parametrize("query", ["", "?token=", "?token=x", "?token=" + token_of("ada", exp=1)])
async def test_without_a_good_token_it_is_accepted_and_closed_at_once(api: Api, query: str) -> None:
    async with api.http.ws_connect(f"{api.url}/ws/status{query}") as socket:
        message = await socket.receive(5)
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert message.data == 4001
        assert message.extra


async def test_it_is_closed_when_the_token_expires(api: Api) -> None:
    exp = api.deps.clock.now().timestamp() + 0.7
    async with websocket(api.user(exp=exp)) as socket:
        assert await closed(socket) == (4001, "The token has expired")
        assert api.deps.clock.now().timestamp() >= exp


async def test_a_user_has_so_many_and_no_more(ada: User, bob: User) -> None:
    async with websocket(ada), websocket(ada), event_stream(ada):
        async with ada.http.ws_connect(f"{ada.url}/ws/status?token={ada.token}") as socket:
            code, reason = await closed(socket)
            assert (code, str(MOST) in reason) == (1008, True)
        async with websocket(bob):
            pass
    async with websocket(ada), websocket(ada):
        pass


async def test_without_an_upgrade_it_is_refused(api: Api, ada: User) -> None:
    for path in ("/ws/status", f"/ws/status?token={ada.token}"):
        answer = await api.ask("GET", path)
        answer.refused(426, "ERR_1009", "UpgradeRequiredError")
        assert (answer.headers["Upgrade"], answer.headers["Connection"]) == ("websocket", "Upgrade")


async def test_a_broken_upgrade_is_refused(api: Api) -> None:
    for name in UPGRADE:
        headers = {**UPGRADE, name: "1"}
        answer = await api.ask("GET", "/ws/status", headers=headers)
        answer.refused(426, "ERR_1009", "UpgradeRequiredError")


async def test_another_method_is_not_allowed(api: Api) -> None:
    answer = await api.ask("POST", "/ws/status")
    answer.refused(405, "ERR_1005", "MethodNotAllowedError")


# -- what is counted and logged ---------------------------------------------------------------------------------------


async def test_open_connections_are_counted(ada: User) -> None:
    async def are(count: int) -> bool:
        return metrics.WEBSOCKET_CONNECTIONS.value() == count

    await until(lambda: are(0), "those of other tests are gone")
    async with websocket(ada), websocket(ada):
        assert await are(2)
    await until(lambda: are(0), "they are gone")


async def test_the_token_is_not_logged(ada: User, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with websocket(ada):
        pass
    async with ada.http.ws_connect(f"{ada.url}/ws/status?token={ada.token}x") as socket:
        await closed(socket)

    async def lines() -> bool:
        return [getattr(one, "path", "") for one in caplog.records].count("/ws/status") == 2

    await until(lines, "both are logged")
    assert [vars(one).get("status_code") for one in caplog.records if getattr(one, "path", "")] == [101, 101]
    assert any(getattr(one, "event_type", "") == "auth_failed" for one in caplog.records)
    ours = [one for one in caplog.records if one.name.startswith(("api", "projections", "aiohttp"))]
    assert all(ada.token not in repr(vars(one)) for one in ours)
