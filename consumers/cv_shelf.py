"""Uploaded CVs while their applications are worked on, in a bounded piece of memory.

A CV is read before its application is started: while MongoDB is away nothing has begun, and the message waits. It is
held until the work ends, so that every portal gets it as a stream that cannot break off for want of MongoDB.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from domain.job import CvReference

HELD_BYTES_MAX = 48 * 2**20
CHUNK_BYTES = 64 * 1024


class CvFiles(Protocol):
    """Where CVs are kept."""

    async def read(self, cv_id: str) -> bytes | None:
        """None for one that is gone. Raises a StoreError."""


@dataclass(frozen=True, slots=True)
class HeldCv:
    """A `portals.CvFile`, in memory."""

    id: str
    size: int
    sha256: str
    content: bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        for begin in range(0, len(self.content), CHUNK_BYTES):
            yield self.content[begin : begin + CHUNK_BYTES]


class CvShelf:
    """Lends CVs, `most` bytes at once; who comes when it is full waits his turn. One larger than that goes alone."""

    def __init__(self, files: CvFiles, most: int = HELD_BYTES_MAX) -> None:
        self._files, self._most = files, most
        self._lent = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, reference: CvReference | None) -> AsyncIterator[HeldCv | None]:
        """None where no CV was given, and for one that is gone. Raises a StoreError."""
        if reference is None:
            yield None
            return
        await self._take(reference.size)
        try:
            content = await self._files.read(reference.id)
            yield None if content is None else HeldCv(reference.id, len(content), reference.sha256, content)
        finally:
            self._give_back(reference.size)

    async def _take(self, size: int) -> None:
        if not self._queue and self._fits(size):
            self._lent += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(size)
            raise

    def _give_back(self, size: int) -> None:
        self._lent -= size
        while self._queue and (self._queue[0][1].done() or self._fits(self._queue[0][0])):
            next_size, turn = self._queue.popleft()
            if not turn.done():
                self._lent += next_size
                turn.set_result(None)

    def _fits(self, size: int) -> bool:
        return self._lent == 0 or self._lent + size <= self._most
