"""Server-sent events (contract http.md 13)."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import aiohttp
import orjson
import pytest
import pytest_asyncio

from api import streams
from infra import metrics
from tests.api import Api, User, a_story, running_api, settings_for, token_of, until
from tests.streams import EventStream, event_stream, heard, statuses, websocket

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST = 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(mongodb_uri: str, api_database: str, api_folder: Path) -> AsyncIterator[Api]:
    url = f"sqlite:///{api_folder}/events.db"
    async with running_api(settings_for(url, mongodb_uri, api_database, ws_max_connections_per_user=MOST)) as api:
        yield api


async def submit_batch(user: User, items: int = 2) -> tuple[str, list[str]]:
    """The ids of a batch and of its items."""
    answer = await user.ask(
        "POST", "/batch/applications", data={"items": orjson.dumps([{"jobs": [{}]}] * items).decode()}
    )
    assert answer.status == 200, answer.body
    return answer.json["batch_id"], [item["application_id"] for item in answer.json["results"]]


# -- what is told -----------------------------------------------------------------------------------------------------


async def test_it_begins_with_connected_and_is_no_ones_to_keep(ada: User) -> None:
    async with event_stream(ada) as stream:
        headers = stream.response.headers
        assert headers["Content-Type"] == "text/event-stream"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["X-Correlation-ID"] == headers["X-Request-ID"]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert not [name for name in headers if name.startswith("X-RateLimit")]
        assert stream.retry == 3000


async def test_a_submission_is_told_under_its_position(ada: User) -> None:
    async with event_stream(ada) as stream:
        written = await ada.submit({"jobs": [{}, {}]})
        [event] = await stream.some(1)
    assert (event.name, event.id) == ("status_update", str(written.position))
    assert event.data == {
        "type": "status_update",
        "application_id": written.json["application_id"],
        "status": "pending",
        "timestamp": written.json["created_at"],
        "job_count": 2,
    }


async def test_every_change_is_told_in_order_whoever_made_it(api: Api, ada: User) -> None:
    story = a_story(ada).submitted().started().attempted().refused(reason="Closed").failed().retried().cancelled()
    async with event_stream(ada) as stream:
        last = await api.happened(story)
        events = await stream.some(5)
    first = last - len(story.events) + 1
    assert statuses(events) == [
        (str(first), "pending"),
        (str(first + 1), "processing"),
        (str(last - 2), "failed"),
        (str(last - 1), "pending"),
        (str(last), "cancelled"),
    ]
    assert [event.data.get("error_reason") for event in events] == [None, None, "Closed", None, "Cancelled by user"]


async def test_of_a_batch_is_told_what_of_its_items_changes_it(ada: User) -> None:
    async with event_stream(ada) as stream:
        batch_id, [one, _] = await submit_batch(ada)
        created = await stream.some(3)
        await ada.ask("DELETE", f"/applications/{one}")
        ended = await stream.some(2)
        await ada.ask("DELETE", f"/batch/applications/{batch_id}")
        cancelled = await stream.some(2)
    assert [event.name for event in created] == ["status_update", "status_update", "batch_update"]
    assert [event.name for event in ended] == [event.name for event in cancelled] == ["status_update", "batch_update"]
    assert ended[1].id == f"{ended[0].id}.1"
    assert int(cancelled[1].id or 0) == int(cancelled[0].id or 0) + 1
    fields = ("batch_id", "status", "total", "processed", "failed", "succeeded")
    assert [tuple(events[-1].data[name] for name in fields) for events in (created, ended, cancelled)] == [
        (batch_id, "pending", 2, 0, 0, 0),
        (batch_id, "pending", 2, 1, 0, 0),
        (batch_id, "cancelled", 2, 2, 0, 0),
    ]


async def test_the_data_is_the_websockets_message(ada: User) -> None:
    async with event_stream(ada) as stream, websocket(ada) as socket:
        await submit_batch(ada)
        assert [event.data for event in await stream.some(3)] == [await heard(socket) for _ in range(3)]


async def test_another_users_changes_are_not_told(ada: User, bob: User) -> None:
    async with event_stream(ada) as stream:
        await bob.submit()
        written = await ada.submit()
        assert [event.id for event in await stream.some(1)] == [str(written.position)]


async def test_a_read_that_follows_an_update_is_never_older(api: Api, ada: User) -> None:
    """Without a position: whatever read model answers, it has what was told."""
    lives = [a_story(ada).submitted(jobs=2).started().attempted(1, 2).applied(1).refused(2).failed() for _ in range(15)]
    async with event_stream(ada) as stream:
        appending = asyncio.gather(*map(api.happened, lives))
        for event in await stream.some(3 * len(lives)):
            id, position = event.data["application_id"], int(event.id or 0)
            read = [ada.get(f"/applications/{id}/status"), ada.get("/applied"), ada.get("/fail_applied")]
            status, applied, failed = await asyncio.gather(*read)
            assert all(answer.position >= position for answer in (status, applied, failed))
            if event.data["status"] == "failed":
                assert status.json["status"] == "failed"
                assert f"{id}-1" in applied.json["data"]
                assert f"{id}-2" in failed.json["data"]
        await appending


# -- coming back ------------------------------------------------------------------------------------------------------


async def test_who_comes_back_is_told_what_he_missed_and_nothing_twice(ada: User) -> None:
    async with event_stream(ada) as stream:
        await ada.submit()
        [seen] = await stream.some(1)
    missed = [await ada.submit() for _ in range(3)]
    for in_header, in_query in ((seen.id, ""), (None, seen.id)):
        async with event_stream(ada, last=in_header, last_event_id=in_query) as stream:
            live = await ada.submit()
            missed.append(live)
            assert [event.id for event in await stream.some(len(missed))] == [str(one.position) for one in missed]


async def test_the_header_goes_before_the_query_which_a_browser_repeats(ada: User) -> None:
    first, second, third = [await ada.submit() for _ in range(3)]
    repeated = str(first.position)
    async with event_stream(ada, last=str(second.position), last_event_id=repeated) as stream:
        assert [event.id for event in await stream.some(1)] == [str(third.position)]
    async with event_stream(ada, last="", last_event_id=repeated) as stream:
        assert [event.id for event in await stream.some(2)] == [str(second.position), str(third.position)]


async def test_an_event_comes_before_its_further_ones(ada: User) -> None:
    _, [one, _] = await submit_batch(ada)
    await ada.ask("DELETE", f"/applications/{one}")
    async with event_stream(ada, last="0") as stream:
        ids = [str(event.id) for event in await stream.some(5)]
    assert ids[4] == f"{ids[3]}.1"
    for number, id in enumerate(ids[:], 1):
        async with event_stream(ada, last=id) as stream:
            ids.append(str((await ada.submit()).position))
            assert [event.id for event in await stream.some(len(ids) - number)] == ids[number:]


async def test_a_long_history_is_told_in_order(api: Api, ada: User) -> None:
    position = 0
    for _ in range(12):
        _, items = await submit_batch(ada, 100)
        position += len(items)
    async with event_stream(ada, last="0") as stream:
        written = await ada.submit()
        ids = [int(event.id or 0) for event in await stream.some(12 * 101 + 1)]
    assert ids == sorted(set(ids))
    assert ids[-1] == written.position


@pytest.mark.parametrize("sent", ["x", "-1", "1.", "1.0", "01", "1.1.1", "1 1", "1e3", "9" * 19, "999999999"])
async def test_what_was_never_an_id_of_an_event_is_refused(ada: User, sent: str) -> None:
    for headers, query in (({"Last-Event-ID": sent}, {}), ({}, {"last_event_id": sent})):
        answer = await ada.ask("GET", "/stream/status", headers, params=query)
        body = answer.refused(422, "ERR_1001", "ValidationError")
        assert body["details"][0]["field"] == ("Last-Event-ID" if headers else "last_event_id")


# -- narrowed ---------------------------------------------------------------------------------------------------------


async def test_it_is_narrowed_to_applications_by_their_ids_and_their_entries(api: Api, ada: User) -> None:
    one, two, other = [a_story(ada).submitted(jobs=2) for _ in range(3)]
    for story in (one, two, other):
        await api.happened(story)
    named = [("application_id", one.id.hex), ("application_id", f"{two.id.hex}-2"), ("application_id", "")]
    query = "&".join(f"{name}={value}" for name, value in named)
    async with ada.http.get(
        f"{ada.url}/stream/status?{query}", headers={"Authorization": f"Bearer {ada.token}"}
    ) as response:
        stream = EventStream(response)
        await stream.some(1)
        for story in (other, two, one):
            await ada.ask("DELETE", f"/applications/{story.id.hex}")
        cancelled: list[str] = []
        while len(cancelled) < 2:  # that they are pending may be told yet
            [event] = await stream.some(1)
            cancelled += [event.data["application_id"]] if event.data["status"] == "cancelled" else []
        assert cancelled == [two.id.hex, one.id.hex]
    async with event_stream(ada, last="0", application_id=other.id.hex) as stream:
        assert [event.data["status"] for event in await stream.some(2)] == ["pending", "cancelled"]


async def test_narrowed_it_tells_of_no_batch(ada: User) -> None:
    _, [one, two] = await submit_batch(ada)
    async with event_stream(ada, last="0", application_id=one) as stream:
        await ada.ask("DELETE", f"/applications/{two}")
        await ada.ask("DELETE", f"/applications/{one}")
        assert [(event.name, event.data["status"]) for event in await stream.some(2)] == [
            ("status_update", "pending"),
            ("status_update", "cancelled"),
        ]


async def test_an_unknown_and_a_foreign_application_are_refused_alike(ada: User, bob: User) -> None:
    own, foreign = await ada.submit(), await bob.submit()
    for id in (uuid4().hex, foreign.json["application_id"], "x", f"{own.json['application_id']}-1"):
        path = f"/stream/status?application_id={own.json['application_id']}&application_id={id}"
        (await ada.ask("GET", path)).refused(404, "ERR_2001", "ApplicationNotFoundError")


# -- who may ----------------------------------------------------------------------------------------------------------


async def test_the_token_may_stand_in_the_query_and_is_not_logged(ada: User, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with ada.http.get(f"{ada.url}/stream/status", params={"token": ada.token}) as response:
        assert response.status == 200
        assert (await EventStream(response).some(1))[0].name == "connected"

    async def is_logged() -> bool:
        return any(getattr(one, "path", "") == "/stream/status" for one in caplog.records)

    await until(is_logged, "the stream is logged")
    [line] = [one for one in caplog.records if getattr(one, "path", "") == "/stream/status"]
    assert (line.levelname, vars(line)["user_id"], vars(line)["status_code"]) == ("INFO", ada.id, 200)
    assert ada.token not in caplog.text
    assert all(
        ada.token not in repr(vars(one)) for one in caplog.records if one.name.startswith(("api", "projections"))
    )


async def test_another_endpoint_takes_no_token_from_the_query(ada: User, api: Api) -> None:
    (await api.ask("GET", f"/applied?token={ada.token}")).refused(401, "ERR_8001", "AuthenticationError")


@pytest.mark.parametrize("header", ["Basic eDp5", ""])
async def test_a_header_of_another_scheme_hides_no_token_in_the_query(ada: User, api: Api, header: str) -> None:
    """A browser sends what the proxy before us asked for with every request."""
    request = f"GET /stream/status?token={ada.token} HTTP/1.1\r\nHost: x\r\nAuthorization: {header}\r\n\r\n"
    answer = await api.say(request.encode(), wait=lambda read: b"event: connected" in read)
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_bad_token_in_the_query_is_refused(api: Api, ada: User) -> None:
    expired = token_of(ada.id, exp=1)
    for token, code, error in (
        ("x", "ERR_8001", "InvalidTokenError"),
        ("", "ERR_8001", "AuthenticationError"),
        (expired, "ERR_8002", "TokenExpiredError"),
    ):
        (await api.ask("GET", f"/stream/status?token={token}")).refused(401, code, error)


async def test_it_ends_when_the_token_expires(api: Api) -> None:
    exp = (api.deps.clock.now().timestamp()) + 0.7
    ada = api.user(exp=exp)
    async with event_stream(ada) as stream:
        assert await stream.rest() == []
        assert stream.comments == ["The token has expired"]
        assert api.deps.clock.now().timestamp() >= exp


async def test_a_user_has_so_many_streams_of_both_kinds_and_no_more(api: Api, ada: User, bob: User) -> None:
    refused = metrics.RATE_LIMIT_EXCEEDED_TOTAL.value(endpoint="/stream/status", user_type="authenticated")
    async with event_stream(ada), event_stream(ada), websocket(ada):
        answer = await ada.get("/stream/status")
        answer.refused(429, "ERR_7001", "RateLimitError")
        assert answer.headers["Retry-After"] == "30"
        async with event_stream(bob):
            pass
    assert metrics.RATE_LIMIT_EXCEEDED_TOTAL.value(endpoint="/stream/status", user_type="authenticated") == refused + 1


async def test_who_leaves_makes_room_at_once(ada: User) -> None:
    for _ in range(5 * MOST):
        async with event_stream(ada) as stream:
            assert stream.response.connection
            stream.response.close()
        await until(lambda: has_room(ada), "there is room", 5)


async def has_room(user: User) -> bool:
    answer = await user.ask("HEAD", "/stream/status")
    return answer.status == 200


async def test_head_tells_the_headers_and_ends(ada: User) -> None:
    answer = await ada.ask("HEAD", "/stream/status")
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, "text/event-stream", b"")


# -- signs of life ----------------------------------------------------------------------------------------------------


async def test_silence_is_broken_by_comments(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    assert streams.SILENCE_SECONDS == 15
    monkeypatch.setattr(streams, "SILENCE_SECONDS", 0.05)
    async with event_stream(ada) as stream:
        lines = [await asyncio.wait_for(stream.response.content.readline(), 5) for _ in range(6)]
        assert [line for line in lines if line.strip()] == [b":\n"] * 3
        await ada.submit()
        assert [event.data["status"] for event in await stream.some(1)] == ["pending"]


async def test_it_is_measured_until_its_first_byte(ada: User) -> None:
    def seconds() -> float:
        return metrics.HTTP_REQUEST_DURATION_SECONDS._sums.get(("GET", "/stream/status", "200"), 0.0)

    def counted() -> int:
        labels = {"method": "GET", "endpoint": "/stream/status", "status_code": "200"}
        return metrics.HTTP_REQUEST_DURATION_SECONDS.count(**labels)

    async def is_open(count: int) -> bool:
        return metrics.HTTP_REQUESTS_IN_PROGRESS.value(method="GET", endpoint="/stream/status") == count

    await until(lambda: is_open(0), "those of other tests are over")
    before = seconds(), counted()
    began = asyncio.get_running_loop().time()
    async with event_stream(ada) as stream:
        assert await is_open(1)
        while asyncio.get_running_loop().time() - began < 0.3:
            await ada.submit()
            await stream.some(1)
    await until(lambda: is_open(0), "it is over")
    assert counted() == before[1] + 1
    assert seconds() - before[0] < 0.3


async def test_a_client_of_http_1_0_gets_it_without_chunks(api: Api, ada: User) -> None:
    request = f"GET /stream/status?token={ada.token} HTTP/1.0\r\nHost: x\r\n\r\n"
    answer = await api.say(request.encode(), wait=lambda read: b"event: connected" in read)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert body.startswith(b"retry: 3000\n\nevent: connected\n")


async def test_a_connection_error_of_the_client_is_no_fault_of_ours(
    api: Api, ada: User, caplog: pytest.LogCaptureFixture
) -> None:
    async with event_stream(ada) as stream:
        connection = stream.response.connection
        assert connection
        assert connection.transport
        connection.transport.abort()
        with pytest.raises(aiohttp.ClientError):
            await stream.next()
    await until(lambda: has_room(ada), "it is over")
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR and "stream" in one.message]
