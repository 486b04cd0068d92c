"""The demo, and a service that is as unkind as the contract of its streams allows (contract cli.md 5, http.md 13)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from api.cli import demo, demo_client
from api.cli.ending import CommandFailed
from api.cli.samples import samples
from api.cli.terminal import Terminal

SUBMITTED = {"ann": 3, "ben": 2, "cleo": 1}


class Told(Terminal):
    """What the demo prints."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def tell(self, text: str = "") -> None:
        self.lines.append(text)


@dataclass(slots=True)
class Service:
    """Each application ends as soon as it is submitted, and a stream tells of one event and then what `after` does."""

    after: str = "breaks"  # breaks, ends, says nothing
    events: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)  # position, user, data
    refusals: list[int] = field(default_factory=list)  # statuses of the first streams
    streams: list[tuple[str, str, int]] = field(default_factory=list)  # user, Last-Event-ID, applications asked for
    reads: dict[tuple[str, str], str] = field(default_factory=dict)  # user and path: position
    ends: bool = True

    async def submit(self, request: web.Request) -> web.Response:
        await request.read()
        position, application_id = len(self.events) + 1, f"{len(self.events):032x}"
        for status in ["pending", "processing", "failed" if self.ends else "pending"]:
            data = {"type": "status_update", "application_id": application_id, "status": status}
            data |= {"error_reason": "Closed"} if status == "failed" else {}
            self.events.append((len(self.events) + 1, user_of(request), data))
        return answer({"application_id": application_id}, position)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        last, ids = request.headers["Last-Event-ID"], request.query.getall("application_id")
        self.streams.append((user_of(request), last, len(ids)))
        if self.refusals:
            return web.Response(status=self.refusals.pop(0), headers={"Retry-After": "0"})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"retry: 3000\n\nevent: connected\ndata: {}\n\n: comment\n\n")
        for position, user, data in self.events:
            if user == user_of(request) and data["application_id"] in ids and position > int(last.partition(".")[0]):
                told = b"id: %d.1\r\nevent: status_update\r\ndata: %b\r\n" % (position, orjson.dumps(data))
                await response.write(told + b"\r\nid: 999\r\nevent: status_update\r\ndata: {")
                break
        await self._leave(request, response)
        return response

    async def _leave(self, request: web.Request, response: web.StreamResponse) -> None:
        if self.after == "breaks" and request.transport:
            request.transport.close()
        elif self.after == "says nothing":
            await asyncio.Event().wait()
        else:
            await response.write_eof()

    async def read(self, request: web.Request) -> web.Response:
        position = request.headers["X-Event-Position"]
        self.reads[user_of(request), request.path] = position
        return answer({"data": {}}, int(position))


def user_of(request: web.Request) -> str:
    return request.headers["Authorization"].removeprefix("Bearer token of ")


def answer(body: object, position: int) -> web.Response:
    return web.json_response(body, headers={"X-Event-Position": str(position)})


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def terminal() -> Told:
    return Told()


@pytest_asyncio.fixture
async def url(service: Service, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    monkeypatch.setattr(demo_client, "_AGAIN_SECONDS", 0.0)
    app = web.Application()
    app.add_routes(
        [
            web.post("/applications", service.submit),
            web.get("/stream/status", service.stream),
            web.get("/applied", service.read),
            web.get("/fail_applied", service.read),
            web.get("/applied/{id}", service.read),
        ]
    )
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def run(url: str, terminal: Told) -> list[str]:
    """The lines that tell how an application ended."""
    await demo.run_demo(url, lambda user: f"token of {user}", terminal)
    return [line for line in terminal.lines if line.startswith("  ")]


@pytest.mark.parametrize("after", ["breaks", "ends"])
async def test_nothing_is_missed_however_often_a_stream_is_gone(
    service: Service, url: str, terminal: Told, after: str
) -> None:
    service.after = after
    lines = await run(url, terminal)
    assert sorted(line.split("s  ", 1)[1].split() for line in lines) == sorted(
        [sample.user, *f"{sample.shows}: Closed".split()] for sample in samples()
    )
    first = {user: next(position for position, whose, _ in service.events if whose == user) for user in SUBMITTED}
    for user, count in SUBMITTED.items():
        asked = [(last, ids) for whose, last, ids in service.streams if whose == user]
        assert asked[0] == (str(first[user]), count), "also what came before the stream is told"
        later = [position for position, whose, _ in service.events if whose == user and position > first[user]]
        assert asked[1:] == [(f"{position}.1", count) for position in later[:-1]], "each stream goes on after the last"
        assert service.reads[user, "/applied"] == service.reads[user, "/fail_applied"] == str(later[-1])


async def test_a_silent_stream_is_opened_anew(
    service: Service, url: str, terminal: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_client, "_SILENCE_SECONDS", 0.1)
    service.after = "says nothing"
    assert len(await run(url, terminal)) == len(samples())


async def test_an_api_that_is_away_or_has_too_many_streams_is_asked_again(
    service: Service, url: str, terminal: Told
) -> None:
    service.refusals = [503, 429, 503, 429]
    assert len(await run(url, terminal)) == len(samples())


async def test_a_refused_stream_is_told(service: Service, url: str, terminal: Told) -> None:
    service.refusals = [404]
    with pytest.raises(CommandFailed, match=r"^GET /stream/status: 404 "):
        await run(url, terminal)


async def test_what_does_not_end_is_given_up(
    service: Service, url: str, terminal: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_END_SECONDS", 0.3)
    service.ends = False
    with pytest.raises(CommandFailed, match=r"[0-9a-f]{32} is still (pending|processing).* after 0\.3 s$"):
        await run(url, terminal)
