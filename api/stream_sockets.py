"""What both kinds of streams do with their connection: bounded writes, and one end for whatever goes wrong.

A client that reads nothing fills the kernel's buffer, then a small one of ours; then writing to it waits, and after
SLOW_SECONDS its stream is over. It does not grow the process, and nobody else waits for it.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Coroutine, Iterator
from datetime import datetime
from typing import Any, cast

from aiohttp import web

from api.http_server import Connection
from api.listeners import Ending, Listener

logger = logging.getLogger(__name__)

SLOW_SECONDS = 10.0  # for what was written to be taken
CLOSING_SECONDS = 5.0  # for a goodbye
OUR_BUFFER_BYTES, KERNEL_BUFFER_BYTES = 32 * 1024, 64 * 1024
DEAD_MILLISECONDS = 60_000  # without a sign of life from the other side's kernel
LONGEST_SECONDS = 365 * 86_400.0

TooSlow = TimeoutError


def bound_buffers(request: web.Request) -> None:
    """Few bytes are kept for a client that does not read, and one that has vanished is noticed."""
    transport = request.transport
    if transport is None:
        return
    transport.set_write_buffer_limits(high=OUR_BUFFER_BYTES)
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_MILLISECONDS)


@contextlib.contextmanager
def ending_with(request: web.Request, listener: Listener, now: datetime, expires_at: datetime | None) -> Iterator[None]:
    """Ends the listener when the connection is lost, and when the token expires."""
    loop = asyncio.get_running_loop()
    seconds = LONGEST_SECONDS if expires_at is None else min((expires_at - now).total_seconds(), LONGEST_SECONDS)
    expiry = loop.call_later(seconds, listener.end, Ending.EXPIRED) if expires_at is not None else None
    try:
        with cast(Connection, request.protocol).telling_loss(lambda: listener.end(Ending.GONE)):
            yield
    finally:
        if expiry is not None:
            expiry.cancel()


async def until_over(listener: Listener, *work: Coroutine[Any, Any, None]) -> Ending:
    """Runs what a stream consists of until one of it returns or fails, or the listener is over; and why it is."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        watched: list[asyncio.Future[Any]] = [listener.over, *tasks]
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                listener.end(_ending_of(error))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    listener.end(Ending.GONE)
    return listener.over.result()


async def taken(request: web.Request, writing: Coroutine[Any, Any, None]) -> None:
    """Writes, and waits until little of it is left in our hands. Raises TooSlow, or ConnectionError."""
    async with asyncio.timeout(SLOW_SECONDS):
        await writing
        await request.writer.drain()


async def say_goodbye(request: web.Request, goodbye: Coroutine[Any, Any, object]) -> None:
    """Says it, in bounded time; then nothing is left of the connection that its client does not take."""
    try:
        async with asyncio.timeout(CLOSING_SECONDS):
            await goodbye
            await request.writer.drain()
    except (TimeoutError, ConnectionError):
        if request.transport is not None:
            request.transport.abort()


def log_end(listener: Listener, kind: str, ending: Ending) -> None:
    """Who is slow, or was failed by us, should be seen."""
    if ending in {Ending.TOO_SLOW, Ending.FAILED}:
        extra = {"event_type": "stream_dropped", "user_id": listener.user_id}
        logger.warning("%s dropped: %s", kind, ending.reason, extra=extra)


def _ending_of(error: BaseException) -> Ending:
    if isinstance(error, TooSlow):
        return Ending.TOO_SLOW
    if isinstance(error, ConnectionError):
        return Ending.GONE
    logger.error("stream failed", exc_info=error, extra={"event_type": "stream_failed"})
    return Ending.FAILED
