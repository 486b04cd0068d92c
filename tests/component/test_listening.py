"""How connections are taken (`api/listening.py`). That new callers do not starve: `end_to_end/test_overload.py`."""

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvloop
from aiohttp import web

from api.http_server import HttpServer
from api.listening import AGAIN_SECONDS, ListeningSite

ASKED = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def listening(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[ListeningSite]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = HttpServer(app, 1.0)
    await runner.setup()
    site = ListeningSite(runner, host, port, 128)
    try:
        await site.start()
        yield site
    finally:
        await runner.cleanup()


async def asked(host: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(ASKED)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


async def test_many_at_once_are_all_answered() -> None:
    async with listening() as site:
        answers = await asyncio.gather(*(asked("127.0.0.1", site.port) for _ in range(100)))
    assert all(answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"here") for answer in answers)


def test_so_they_are_on_the_event_loop_that_the_roles_use() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_many_at_once_are_all_answered())


async def test_who_waits_to_be_taken_when_it_stops_is_answered() -> None:
    async with listening() as site:
        waiting = [socket.create_connection(("127.0.0.1", site.port)) for _ in range(3)]  # the loop does not turn
        for one in waiting:
            one.sendall(ASKED)
            one.setblocking(False)
        await site.stop()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            answers = [await loop.sock_recv(one, 1_000) for one in waiting]
        for one in waiting:
            one.close()
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)


async def test_a_name_is_listened_at_in_all_its_addresses() -> None:
    async with listening("localhost") as site:
        assert b"here" in await asked("127.0.0.1", site.port)


async def test_nobody_is_taken_once_it_has_stopped() -> None:
    async with listening() as site:
        port = site.port
        await site.stop()
        with pytest.raises(ConnectionRefusedError):
            await asked("127.0.0.1", port)


async def test_a_port_that_is_taken_is_told() -> None:
    async with listening() as site:
        with pytest.raises(OSError, match="in use"):
            async with listening(port=site.port):
                pass


async def test_without_room_for_another_file_it_takes_it_later(caplog: pytest.LogCaptureFixture) -> None:
    async with listening() as site:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as caller:
            caller.setblocking(False)
            highest = max(map(int, os.listdir("/proc/self/fd")))
            descriptors = [os.dup(0)]  # the lowest numbers that are free are used first: none is left below the limit
            while descriptors[-1] <= highest:
                descriptors.append(os.dup(0))
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors[-1] + 1, hard))
            try:
                await asyncio.get_running_loop().sock_connect(caller, ("127.0.0.1", site.port))
                await asyncio.get_running_loop().sock_sendall(caller, ASKED)
                async with asyncio.timeout(5):
                    while "no room for another connection" not in caplog.text:
                        await asyncio.sleep(0.02)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for descriptor in descriptors:
                    os.close(descriptor)
            async with asyncio.timeout(AGAIN_SECONDS + 5):
                assert (await asyncio.get_running_loop().sock_recv(caller, 1000)).startswith(b"HTTP/1.1 200")


async def test_an_address_that_is_not_of_this_machine_is_told() -> None:
    with pytest.raises(OSError, match="assign"):
        async with listening("192.0.2.1"):
            pass
