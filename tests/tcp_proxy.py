"""A TCP proxy in front of a server: a network that cuts at certain bytes, is slow, swallows, resets or drips."""

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self
from urllib.parse import urlsplit

AT_ONCE = 65536  # bytes
LINGER = struct.pack("ii", 1, 0)  # closing then sends RST, and no FIN


class Weather(StrEnum):
    """What a network does to all connections through it, both ways."""

    CLEAR = "clear"
    LATENCY = "latency"  # whatever passes is late
    HALF_OPEN = "half-open"  # connections are taken, and nothing passes until it is over, as when packets are dropped
    RESET = "reset"  # those that are open get RST, and so does each new one
    DRIP = "one byte at a time"  # each in a packet of its own


@dataclass(slots=True)
class TcpProxy:
    """`cut_at`: bytes of a client upon which both sides are cut, once. `deliver_first`: the server still gets them.

    `weather` is changed by `turn`, for connections that are open as well.
    """

    host: str
    port: int
    cut_at: bytes | None = None
    deliver_first: bool = False
    cuts: int = 0
    weather: Weather = Weather.CLEAR
    latency_seconds: float = 0.0
    own_port: int = 0  # 0: a free one
    _server: asyncio.Server = field(init=False)
    _connections: set[asyncio.Task[None]] = field(default_factory=set)
    _passes: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        self._passes.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.own_port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        connections = list(self._connections)
        self.cut_all()
        await asyncio.gather(*connections, return_exceptions=True)
        await asyncio.sleep(0.01)  # an aborted transport closes its socket in the loop's next turns

    @property
    def listens(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    def through(self, url: str) -> str:
        """The address of a server behind it, by way of it."""
        return url.replace(f":{urlsplit(url).port}/", f":{self.listens}/")

    def turn(self, weather: Weather, latency_seconds: float = 0.1) -> None:
        """From now on, for all connections. `latency_seconds` counts for LATENCY, each way."""
        self.weather, self.latency_seconds = weather, latency_seconds
        if weather is Weather.HALF_OPEN:
            self._passes.clear()
        else:
            self._passes.set()
        if weather is Weather.RESET:
            self.cut_all()

    def cut_all(self) -> None:
        """All connections that are open, now."""
        for connection in list(self._connections):
            connection.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection
        self._connections.add(connection)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # streams of Python 3.11 would tell it as an error
                await self._connect(reader, writer)
        finally:
            self._connections.discard(connection)
            _reset(writer)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._passes.wait()
        if self.weather is Weather.RESET:
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            return  # nobody listens there now: so nobody does here
        answers = asyncio.create_task(self._pump(server_reader, writer))
        asked = asyncio.create_task(self._ask(reader, server_reader, server_writer, answers))
        answers.add_done_callback(lambda done: done.cancelled() or asked.cancel())  # a side has gone: so does the other
        try:
            await asyncio.wait([asked])
        finally:
            for task in (answers, asked):
                task.cancel()
            await asyncio.gather(answers, asked, return_exceptions=True)
            _reset(server_writer)

    async def _ask(
        self,
        reader: asyncio.StreamReader,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
        answers: asyncio.Task[None],
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(AT_ONCE):
                if self.cut_at is not None and self.cut_at in data:
                    await self._cut(data, server_reader, server_writer, answers)
                    return
                await self._pass(data, server_writer)

    async def _cut(
        self,
        data: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.Task[None],
    ) -> None:
        self.cut_at, self.cuts = None, self.cuts + 1
        answers.cancel()
        if self.deliver_first:
            await asyncio.wait([answers])  # it lets go of the reader
            writer.write(data)
            await reader.read(1)  # its answer: it has done it

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(AT_ONCE):
                await self._pass(data, writer)

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self.weather is Weather.LATENCY:
            await asyncio.sleep(self.latency_seconds)
        await self._passes.wait()
        while data:
            one = 1 if self.weather is Weather.DRIP else len(data)
            writer.write(data[:one])
            data = data[one:]
            await writer.drain()
            if self.weather is Weather.DRIP:
                await asyncio.sleep(0)


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    writer.transport.abort()
