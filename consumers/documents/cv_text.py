"""Reads the text of uploaded CVs, each in a process of its own (design 7).

A PDF is a stranger's program: it may loop, blow up or crash its reader. So pypdf runs in bounded processes
(pdf_text.py), limited in time, memory and pages. What kills or hangs one costs its time limit and a new process, and
means that this CV cannot be read; it never fails a job.

The processes are kept warm: a start costs 200 ms, mostly imports, and a usual CV 5 to 20 ms. They start with the first
CV and are replaced after PDFS_PER_PROCESS.
"""

import asyncio
import hashlib
import logging
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.bounded_process import BoundedProcess

logger = logging.getLogger(__name__)

PROGRAM = Path(__file__).with_name("pdf_text.py")
PDFS_PER_PROCESS = 500


@dataclass(frozen=True, slots=True)
class CvLimits:
    """What one CV may cost: `seconds`, `memory` in bytes, `pages` and `characters` that are read."""

    seconds: int = 10
    memory: int = 512 * 2**20
    pages: int = 50
    characters: int = 100_000


class CvReader:
    """Open inside `async with`. So many CVs are read at once as there are `processes`; others wait for their turn.

    `remembered` texts are kept in memory, by hash, so that a CV used again is not read again.
    """

    def __init__(self, *, processes: int = 2, limits: CvLimits | None = None, remembered: int = 64) -> None:
        self._readers = [_Reader(limits or CvLimits()) for _ in range(processes)]
        self._idle: asyncio.LifoQueue[_Reader] = asyncio.LifoQueue()  # the one used last is warm
        self._remembered = remembered
        self._texts: OrderedDict[bytes, str | None] = OrderedDict()
        self._reading: dict[bytes, asyncio.Task[str | None]] = {}

    async def __aenter__(self) -> Self:
        for reader in self._readers:
            self._idle.put_nowait(reader)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._reading.values():
            task.cancel()
        await asyncio.gather(*self._reading.values(), return_exceptions=True)
        for reader in self._readers:
            await reader.stop()

    async def text(self, pdf: bytes) -> str | None:
        """None if it cannot be read: broken, locked, a scan, or more than the limits allow."""
        key = await asyncio.to_thread(_digest, pdf)
        if key in self._texts:
            self._texts.move_to_end(key)
            return self._texts[key]
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.create_task(self._read(key, pdf))
            task.add_done_callback(lambda _: self._reading.pop(key))
        return await asyncio.shield(task)  # another job may wait for the same CV

    async def _read(self, key: bytes, pdf: bytes) -> str | None:
        reader = await self._idle.get()
        try:
            text = await reader.read(pdf)
        except _ReaderLostError as error:  # not remembered: it may have been the machine's fault
            extra = {"event_type": "cv_unreadable", "size": len(pdf), "error": str(error)}
            logger.warning("A CV could not be read", extra=extra)
            return None
        finally:
            self._idle.put_nowait(reader)
        self._texts[key] = text
        if len(self._texts) > self._remembered:
            self._texts.popitem(last=False)
        return text


def _digest(pdf: bytes) -> bytes:
    return hashlib.sha256(pdf).digest()


class _ReaderLostError(Exception):
    """The process hung, died or did not start. It is gone, and the next CV gets a new one."""


class _Reader:
    """One process at a time, for one CV at a time."""

    def __init__(self, limits: CvLimits) -> None:
        self._limits = limits
        self._process: BoundedProcess | None = None
        self._left = 0  # CVs that this process may still read

    async def read(self, pdf: bytes) -> str | None:
        try:
            async with asyncio.timeout(self._limits.seconds):
                process = await self._started()
                self._left -= 1
                await process.send(pdf)
                text = await process.receive(most=4 * self._limits.characters)
        except TimeoutError:
            await self.stop()
            raise _ReaderLostError("took too long") from None
        except (OSError, EOFError) as error:
            await self.stop()
            raise _ReaderLostError(f"its reader ended: {type(error).__name__}") from error
        except asyncio.CancelledError:
            await self.stop()  # else its answer would be taken for the next CV's
            raise
        return None if text is None else text.decode("utf-8", "replace")

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.stop()

    async def _started(self) -> BoundedProcess:
        if self._process is not None and (self._left <= 0 or self._process.has_ended):
            await self.stop()
        if self._process is None:
            limits = self._limits
            bounds = (limits.seconds, limits.memory, limits.pages, limits.characters)
            self._process = await BoundedProcess.start(PROGRAM, *bounds)
            self._left = PDFS_PER_PROCESS
        return self._process
