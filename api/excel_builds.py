"""Excel files, each built in a process of its own beside the API (contract http.md 8.3).

The build takes seconds of CPU, so that it would stall other requests in this process, even in a thread. The rows go
over page by page, as fast as the other side writes them, so this process holds a page at a time. Files are bounded in
number, time, memory and disk; who comes when too many are being built waits a while, and is refused then.

Whatever happens, nothing stays: who asks no longer (or a failure, or the end of this process) ends the program and
removes its folder; killed, this process is missed by the program, which does the same; and what both leave when they
are killed together is removed before the next build.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson
from aiohttp import web

from api.excel_program import BUILT, FILE, NO_ROOM, TOO_LARGE
from api.export_rows import Row
from domain.errors import Overloaded
from infra.bounded_process import BoundedProcess
from infra.work_folder import work_folder

PROGRAM = Path(__file__).with_name("excel_program.py")
SPARE_SECONDS = 5  # the program ends itself later than it is ended
WORD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class ExcelLimits:
    """Files at once, and requests that wait for their turn; seconds of waiting and of building; bytes.

    A build keeps three files of `file_bytes` at most: the sheet, a copy of it, and both compressed.
    """

    at_once: int = 2
    waiting: int = 16
    wait_seconds: float = 30.0
    build_seconds: int = 300
    memory: int = 512 * 2**20
    file_bytes: int = 2**30


class TooMuchForExcel(Exception):
    """More rows, or longer ones, than an Excel file is made of here."""


class ExcelBuilds:
    """The builds of this process."""

    def __init__(self, limits: ExcelLimits | None = None) -> None:
        self._limits = limits or ExcelLimits()
        self._turns = asyncio.Semaphore(self._limits.at_once)
        self._waiting = 0

    async def build(self, pages: AsyncIterator[Sequence[Row]], most_rows: int) -> IO[bytes]:
        """The file, open; it has no name any more, so it is gone once it is closed.

        Raises TooMuchForExcel, Overloaded, and what `pages` does. Cancelled, it leaves nothing behind.
        """
        limits = self._limits
        async with self._turn():
            try:
                async with asyncio.timeout(limits.build_seconds), work_folder("excel") as folder:
                    bounds = (limits.build_seconds + SPARE_SECONDS, limits.memory, limits.file_bytes)
                    process = await BoundedProcess.start(PROGRAM, folder, *bounds)
                    try:
                        word = await _built(process, pages, most_rows)
                    finally:
                        await process.stop()
                    _check(word)
                    return await asyncio.to_thread((folder / FILE).open, "rb")
            except TimeoutError:
                raise Overloaded(f"An Excel file was not built in {limits.build_seconds} s") from None

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._turns.locked() and self._waiting >= self._limits.waiting:
            raise Overloaded("Too many Excel files wait to be built")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                await self._turns.acquire()
        except TimeoutError:
            raise Overloaded("Too many Excel files are being built") from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()


async def _built(process: BoundedProcess, pages: AsyncIterator[Sequence[Row]], most_rows: int) -> str:
    """The program's word. Raises EOFError when it has died without one."""
    rows = 0
    async for page in pages:
        rows += len(page)
        if rows > most_rows:
            raise TooMuchForExcel
        if not await _taken(process, orjson.dumps(page)):
            break
    else:
        await _taken(process, b"")
    return (await process.receive(WORD_BYTES) or b"").decode()


async def _taken(process: BoundedProcess, frame: bytes) -> bool:
    """False when the program has ended early: it has said why."""
    try:
        await process.send(frame)
    except ConnectionError:
        return False
    return True


def _check(word: str) -> None:
    if word == TOO_LARGE:
        raise TooMuchForExcel
    if word == NO_ROOM:
        raise Overloaded("There is no room to build an Excel file")
    if word != BUILT:
        raise RuntimeError(f"An Excel file could not be built: {word}")


EXCEL_BUILDS = web.AppKey("EXCEL_BUILDS", ExcelBuilds)
