"""A TCP proxy in front of a server, which cuts a connection when it sees certain bytes go by."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Self


@dataclass(slots=True)
class TcpProxy:
    """`cut_at`: bytes of a client upon which both sides are cut, once. `deliver_first`: the server still gets them."""

    host: str
    port: int
    cut_at: bytes | None = None
    deliver_first: bool = False
    cuts: int = 0
    _server: asyncio.Server = field(init=False)
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.sleep(0.01)  # an aborted transport closes its socket in the loop's next turns

    @property
    def listens(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection
        self._connections.add(connection)
        try:
            await self._connect(reader, writer)
        finally:
            self._connections.discard(connection)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(self.host, self.port)
        answers = asyncio.create_task(_pump(server_reader, writer))
        try:
            while data := await reader.read(65536):
                if self.cut_at is not None and self.cut_at in data:
                    answers.cancel()
                    await self._cut(data, server_reader, server_writer)
                    break
                server_writer.write(data)
                await server_writer.drain()
        except OSError:
            pass  # a side has gone: so does the other
        finally:
            answers.cancel()
            server_writer.transport.abort()
            writer.transport.abort()

    async def _cut(self, data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.cut_at, self.cuts = None, self.cuts + 1
        if self.deliver_first:
            await asyncio.sleep(0)  # lets go of the reader that pumps
            writer.write(data)
            await reader.read(1)  # its answer: it has done it


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
