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
    _listener: socket.socket = field(init=False)
    _connections: set[asyncio.Task[None]] = field(default_factory=set)
    _passes: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        self._passes.set()
        self._listener = socket.create_server(("127.0.0.1", self.own_port))
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        connections = list(self._connections)
        self.cut_all()
        await asyncio.gather(*connections, return_exceptions=True)
        await asyncio.sleep(0.01)  # an aborted transport closes its socket in the loop's next turns

    @property
    def listens(self) -> int:
        return int(self._listener.getsockname()[1])

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

    def _accept(self) -> None:
        """In one step, so that the proxy's end knows of each connection: a server of asyncio's that is closed while it
        takes one up leaves it open.
        """
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):  # the client has gone again
            client, _ = self._listener.accept()
            connection = asyncio.get_running_loop().create_task(self._serve(client))
            self._connections.add(connection)
            connection.add_done_callback(lambda done: self._end(done, client))

    def _end(self, connection: asyncio.Task[None], client: socket.socket) -> None:
        self._connections.discard(connection)
        client.close()  # of one, too, that was cut before it began

    async def _serve(self, client: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=client)
        try:
            await self._connect(reader, writer)
        finally:
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
            _reset(server_writer)  # first: the proxy's end may cut the wait
            await asyncio.gather(answers, asked, return_exceptions=True)

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
