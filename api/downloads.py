"""Answers that are files: sent as they are made, or made first, for who wants to know their length.

A file that ends cleanly is whole: a failure after the first byte breaks the connection off. A client that does not take
a piece in STALLED_SECONDS is broken off as well; until then it holds a piece and a page of rows, or an open file
without a name, and nothing in the database. One that goes away ends the making of its file.
"""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import IO, Any, TypeVar

from aiohttp import hdrs, web

from api.keys import FIRST_BYTE_AT

logger = logging.getLogger(__name__)

T = TypeVar("T")

PIECE_BYTES = 256 * 1024
STALLED_SECONDS = 60.0
LOOK_SECONDS = 0.2


async def send_as_made(
    request: web.Request, headers: Mapping[str, str], content: AsyncIterator[bytes]
) -> web.StreamResponse:
    """Without a length. What fails before the first chunk is there is answered as any error."""
    first = await anext(content)
    return await _sent(request, web.StreamResponse(headers=headers), _followed(first, content))


async def send_file(request: web.Request, headers: Mapping[str, str], file: IO[bytes]) -> web.StreamResponse:
    """From its beginning, with its length."""
    response = web.StreamResponse(headers=headers)
    response.content_length = await asyncio.to_thread(file.seek, 0, 2)
    await asyncio.to_thread(file.seek, 0)
    return await _sent(request, response, _read(file))


async def written(content: AsyncIterator[bytes]) -> IO[bytes]:
    """On the disk, as a file without a name. Raises what `content` does."""
    file: IO[bytes] = await asyncio.to_thread(tempfile.TemporaryFile)
    try:
        async for chunk in content:
            await asyncio.to_thread(file.write, chunk)
    except BaseException:
        file.close()
        raise
    return file


async def while_wanted(request: web.Request, work: Coroutine[Any, Any, T]) -> T:
    """What the work gives. Raises ConnectionResetError once the client has gone: the work is cancelled then."""
    task = asyncio.create_task(work)
    try:
        while not task.done():
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the client has gone")
            await asyncio.wait([task], timeout=LOOK_SECONDS)
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _sent(
    request: web.Request, response: web.StreamResponse, content: AsyncIterator[bytes]
) -> web.StreamResponse:
    try:
        await response.prepare(request)
        request[FIRST_BYTE_AT] = asyncio.get_running_loop().time()
        if request.method != hdrs.METH_HEAD:
            async for chunk in content:
                for start in range(0, len(chunk), PIECE_BYTES):
                    await _in_time(response.write(chunk[start : start + PIECE_BYTES]))
        await _in_time(response.write_eof())
    except Exception as error:
        if request.transport is not None:
            request.transport.abort()
        _log_end(error)
        raise ConnectionResetError("the export was broken off") from error
    return response


async def _in_time(write: Coroutine[Any, Any, None]) -> None:
    """Raises TimeoutError when the client takes nothing."""
    async with asyncio.timeout(STALLED_SECONDS):
        await write


def _log_end(error: Exception) -> None:
    extra = {"event_type": "export_broken_off"}
    if isinstance(error, TimeoutError):
        logger.warning("export broken off: its client has stalled", extra=extra)
    elif not isinstance(error, ConnectionError):
        logger.error("export broken off", exc_info=error, extra=extra)


async def _followed(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in others:
        yield chunk


async def _read(file: IO[bytes]) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, PIECE_BYTES):
        yield chunk
