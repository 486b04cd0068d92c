"""How an HTTP server ends: what is asked and answered on its connections then."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from api import http_server
from api.http_server import HttpServer

QUIET_SECONDS = 0.3
SLOW_SECONDS = 0.6
LARGE = b"x" * 16 * 1024 * 1024  # more than a socket holds


async def at_once(_: web.Request) -> web.Response:
    return web.Response(text="here")


async def slow(_: web.Request) -> web.Response:
    await asyncio.sleep(SLOW_SECONDS)
    return web.Response(text="here")


async def large(_: web.Request) -> web.Response:
    return web.Response(body=LARGE)


@pytest.fixture(autouse=True)
def little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "LAST_REQUEST_SECONDS", QUIET_SECONDS)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[HttpServer, aiohttp.ClientSession]]:
    app = web.Application()
    app.add_routes([web.get("/", at_once), web.get("/slow", slow), web.get("/large", large)])
    server = HttpServer(app, 1.0)
    await server.setup()
    site = web.TCPSite(server, "127.0.0.1", 0)
    await site.start()
    host, port, *_ = server.addresses[0]
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as caller:
            yield server, caller
    finally:
        await server.cleanup()


async def text_of(caller: aiohttp.ClientSession, path: str) -> str:
    async with caller.get(path) as response:
        return await response.text()


async def seconds_to_finish(server: HttpServer, most: float) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await server.finish(most)
    return loop.time() - began


async def test_without_connections_it_ends_at_once() -> None:
    async with serving() as (server, _):
        assert await seconds_to_finish(server, 10) < QUIET_SECONDS


async def test_a_quiet_connection_is_waited_for_a_little() -> None:
    async with serving() as (server, caller):
        await text_of(caller, "/")
        assert QUIET_SECONDS <= await seconds_to_finish(server, 10) < 5


async def test_what_is_asked_right_after_an_answer_is_answered() -> None:
    async with serving() as (server, caller):
        first = asyncio.create_task(text_of(caller, "/slow"))
        await asyncio.sleep(0.1)
        finishing = asyncio.create_task(server.finish(10))
        assert await first == "here"
        for _ in range(2):
            assert await text_of(caller, "/slow") == "here"
        assert not finishing.done()
        await finishing


async def test_an_answer_is_sent_to_its_end() -> None:
    async with serving() as (server, caller), caller.get("/large") as response:
        finishing = asyncio.create_task(server.finish(10))
        await asyncio.sleep(2 * QUIET_SECONDS)
        assert not finishing.done()
        assert await response.read() == LARGE
        await finishing


async def test_who_does_not_read_holds_it_for_the_given_time_only() -> None:
    async with serving() as (server, caller), caller.get("/large"):
        assert 1 <= await seconds_to_finish(server, 1) < 5
