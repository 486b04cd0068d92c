"""Work that could harm whoever asks for it, in a process of its own: what a stranger's file may do, or what takes long.

A `BoundedProcess` runs one program (a file that uses `infra/bounded_program.py`). They exchange frames: a length of 8
bytes, big-endian, and that many bytes; the length -1 is None. The program sees none of our environment but what Python
needs, bounds its own memory, files and time, and finds its input ended when we stop, are cancelled, or are killed.

Time is bounded on both sides. Ours is `asyncio.timeout` around the calls and `stop` after it: it kills, so it ends a
program that hangs or is stopped. The program's own bound is for the case that nobody is left to stop it.
"""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import Self

from infra.bounded_program import LENGTH, NONE

ROOT = Path(__file__).parents[1]  # where the program finds our packages
PASSED_ON = ("PATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG")
STOP_SECONDS = 5.0


class BoundedProcess:
    """One running program; `stop` must be called in the end."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, program: Path, *arguments: object) -> Self:
        """Raises OSError when it cannot be started."""
        python_path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # its own folder is none to import from
            str(program),
            *map(str, arguments),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env=environment | {"PYTHONPATH": python_path},
            start_new_session=True,  # Ctrl-C is for us to hear first
        )
        return cls(process)

    @property
    def has_ended(self) -> bool:
        return self._process.returncode is not None

    async def send(self, content: bytes) -> None:
        """Waits until the program has taken most of what was sent. Raises ConnectionError when it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(LENGTH.pack(len(content)))
        self._process.stdin.write(content)
        await self._process.stdin.drain()

    async def receive(self, most: int) -> bytes | None:
        """A frame of at most so many bytes. Raises EOFError when the program has ended, or answers with more."""
        assert self._process.stdout is not None
        [length] = LENGTH.unpack(await self._process.stdout.readexactly(LENGTH.size))
        if length == NONE:
            return None
        if not 0 <= length <= most:
            raise EOFError("an answer that is none")
        return await self._process.stdout.readexactly(length)

    async def stop(self) -> None:
        """Ends it, whatever it does. It may be called again."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        with contextlib.suppress(TimeoutError):  # one that the system cannot end yet is not ours any more
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
