"""Reads the text of uploaded CVs, each in a process of its own (design 7).

A PDF is a stranger's program: it may loop, blow up or crash its reader. So pypdf runs in child processes
(pdf_text.py), bounded in time, memory and pages. What kills or hangs one costs its time limit and a new process, and
means that this CV cannot be read; it never fails a job.

The processes are kept warm: a start costs 200 ms, mostly imports, and a usual CV 5 to 20 ms. They start with the first
CV, are replaced after PDFS_PER_PROCESS, see none of our environment, and end when our end of their input closes, also
when this process is killed.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

logger = logging.getLogger(__name__)

PROGRAM = Path(__file__).with_name("pdf_text.py")
PDFS_PER_PROCESS = 500
STOP_SECONDS = 5.0
PASSED_ON = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG")


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
        self._process: Process | None = None
        self._left = 0  # CVs that this process may still read

    async def read(self, pdf: bytes) -> str | None:
        try:
            async with asyncio.timeout(self._limits.seconds):
                process = await self._started()
                self._left -= 1
                return await _ask(process, pdf, self._limits.characters)
        except TimeoutError:
            await self.stop()
            raise _ReaderLostError("took too long") from None
        except (OSError, EOFError) as error:
            await self.stop()
            raise _ReaderLostError(f"its reader ended: {type(error).__name__}") from error
        except asyncio.CancelledError:
            await self.stop()  # else its answer would be taken for the next CV's
            raise

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode is None:
            process.kill()
        with contextlib.suppress(TimeoutError):  # one that the system cannot end yet is not ours any more
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()

    async def _started(self) -> Process:
        if self._process is not None and (self._left <= 0 or self._process.returncode is not None):
            await self.stop()
        if self._process is None:
            self._process = await _start(self._limits)
            self._left = PDFS_PER_PROCESS
        return self._process


async def _start(limits: CvLimits) -> Process:
    bounds = map(str, (limits.seconds, limits.memory, limits.pages, limits.characters))
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # its own folder is none to import from
        str(PROGRAM),
        *bounds,
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl-C is for us to hear first
    )


async def _ask(process: Process, pdf: bytes, characters: int) -> str | None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(len(pdf).to_bytes(8, "big"))
    process.stdin.write(pdf)
    await process.stdin.drain()
    length = int.from_bytes(await process.stdout.readexactly(8), "big", signed=True)
    if length < 0:
        return None
    if length > 4 * characters:
        raise EOFError("an answer that is none")
    return (await process.stdout.readexactly(length)).decode("utf-8", "replace")
