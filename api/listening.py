"""Where the API listens, and how it takes connections: all that wait, each time that the event loop looks.

uvloop takes one connection in each turn of its loop (libuv does, since 1.45). Under load a turn lasts a tenth of a
second, so new callers, probes among them, would wait for many seconds while those who are connected already are served:
measured with 640 callers, up to eight. So the listening sockets are read here, and each connection is handed to the
loop when it is accepted; what happens on it is aiohttp's as ever.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Sequence

from aiohttp import web

logger = logging.getLogger(__name__)

AT_ONCE = 256  # connections in a turn of the loop
AGAIN_SECONDS = 1.0  # after there was no room for one more
NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class ListeningSite(web.BaseSite):
    """A site of aiohttp at all addresses of a host."""

    def __init__(self, runner: web.AppRunner, host: str, port: int, backlog: int) -> None:
        super().__init__(runner, backlog=backlog)
        self._host, self._asked_port = host, port
        self._sockets: Sequence[socket.socket] = ()
        self._handing_over: set[asyncio.Task[object]] = set()

    @property
    def name(self) -> str:
        return f"http://{self._host}:{self.port}"

    @property
    def port(self) -> int:
        """The real one, also where a free one was asked for."""
        return int(self._sockets[0].getsockname()[1]) if self._sockets else self._asked_port

    async def start(self) -> None:
        """Raises OSError when it cannot listen there."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._asked_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        sockets: list[socket.socket] = []
        not_here: OSError | None = None  # `localhost` may name an address of IPv6 where there is none
        try:
            for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
                try:
                    sockets.append(socket.create_server(address, family=family, backlog=self._backlog))
                except OSError as error:
                    if error.errno != errno.EADDRNOTAVAIL:
                        raise
                    not_here = error
                else:
                    sockets[-1].setblocking(False)
            if not_here is not None and not sockets:
                raise not_here
        except BaseException:
            for one in sockets:
                one.close()
            raise
        await super().start()
        self._sockets = sockets
        for one in sockets:
            loop.add_reader(one, self._accept, one)

    async def stop(self) -> None:
        await super().stop()
        for one in self._sockets:
            asyncio.get_running_loop().remove_reader(one)
            self._accept_who_waits(one)
            one.close()
        self._sockets = ()
        if self._handing_over:
            await asyncio.wait(self._handing_over)

    def _accept_who_waits(self, listening: socket.socket) -> None:
        """They believe that they are connected: as many as can have waited, and as there is room for."""
        try:
            for _ in range(0, self._backlog, AT_ONCE):
                if not self._accept(listening):
                    return
        except OSError as error:
            logger.error("those who waited were not taken", extra={"event_type": "api.lost", "error": str(error)})

    def _accept(self, listening: socket.socket) -> bool:
        """Whether more may wait."""
        loop = asyncio.get_running_loop()
        for _ in range(AT_ONCE):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return False  # no more wait, or one has gone: the others are seen in the next turn
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                logger.error("no room for another connection", extra={"event_type": "api.full", "error": str(error)})
                loop.remove_reader(listening)
                loop.call_later(AGAIN_SECONDS, self._go_on, listening)
                return False
            connection.setblocking(False)
            assert self._runner.server is not None, "it listens only while it serves"
            task = loop.create_task(loop.connect_accepted_socket(self._runner.server, connection))
            self._handing_over.add(task)
            task.add_done_callback(self._handing_over.discard)
        return True

    def _go_on(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)
