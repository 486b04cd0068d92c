"""The network of the tests itself: what each weather does to bytes that go through it."""

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.tcp_proxy import TcpProxy, Weather

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1024):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def an_echo() -> AsyncIterator[TcpProxy]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with TcpProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()


@asynccontextmanager
async def connected(proxy: TcpProxy) -> AsyncIterator[Ends]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.listens)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def echoed(ends: Ends, data: bytes) -> bytes:
    reader, writer = ends
    writer.write(data)
    async with asyncio.timeout(5):
        return await reader.readexactly(len(data))


async def test_in_clear_weather_all_passes() -> None:
    async with an_echo() as proxy, connected(proxy) as ends:
        assert await echoed(ends, b"x" * 100_000) == b"x" * 100_000


async def test_latency_counts_each_way() -> None:
    async with an_echo() as proxy, connected(proxy) as ends:
        proxy.turn(Weather.LATENCY, 0.1)
        began = time.monotonic()
        assert await echoed(ends, b"late") == b"late"
        assert 0.2 <= time.monotonic() - began < 1


async def test_half_open_holds_open_and_new_connections_until_it_is_over() -> None:
    async with an_echo() as proxy, connected(proxy) as ends:
        assert await echoed(ends, b"before") == b"before"
        proxy.turn(Weather.HALF_OPEN)
        async with connected(proxy) as new:
            waiting = [asyncio.create_task(echoed(each, b"held")) for each in (ends, new)]
            assert not (await asyncio.wait(waiting, timeout=0.2))[0]
            proxy.turn(Weather.CLEAR)
            assert await asyncio.gather(*waiting) == [b"held", b"held"]


async def test_reset_ends_what_is_open_and_what_is_new() -> None:
    async with an_echo() as proxy, connected(proxy) as ends:
        assert await echoed(ends, b"before") == b"before"
        proxy.turn(Weather.RESET)
        with pytest.raises(ConnectionResetError):
            await echoed(ends, b"open")
        async with connected(proxy) as new:
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await echoed(new, b"new")
        proxy.turn(Weather.CLEAR)
        async with connected(proxy) as after:
            assert await echoed(after, b"after") == b"after"


async def test_one_byte_at_a_time_passes_all_in_its_order() -> None:
    async with an_echo() as proxy, connected(proxy) as ends:
        proxy.turn(Weather.DRIP)
        data = bytes(range(256)) * 8
        assert await echoed(ends, data) == data


async def test_a_server_that_is_away_ends_the_connection() -> None:
    async with an_echo() as proxy:
        proxy.port = 1
        async with connected(proxy) as (reader, _):
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(1), 5)


async def test_who_loses_the_server_loses_the_client() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with TcpProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy, connected(proxy) as (reader, _):
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(1), 5)
    server.close()


async def test_its_end_leaves_no_connection_that_it_just_took_up() -> None:
    """A connection left open is told when it is collected, by a warning, which is an error here."""
    for turns in range(8):  # of the loop, between a client's coming and the end
        async with an_echo() as proxy:
            clients = [socket.create_connection(("127.0.0.1", proxy.listens)) for _ in range(3)]
            for _ in range(turns):
                await asyncio.sleep(0)
        for client in clients:
            client.close()
    gc.collect()


async def test_nor_one_that_it_just_cut() -> None:
    for turns in range(12):
        async with an_echo() as proxy, connected(proxy) as ends:
            assert await echoed(ends, b"before") == b"before"
            proxy.cut_at = b"cut"
            ends[1].write(b"cut")
            while not proxy.cuts:
                await asyncio.sleep(0)
            for _ in range(turns):
                await asyncio.sleep(0)
    gc.collect()
