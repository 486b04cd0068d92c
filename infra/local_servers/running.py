"""A server that we started: how it is stopped, killed, paused and asked for its log."""

import asyncio
import json
import logging
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

from infra.local_servers.process import Child, end, pause, resume

logger = logging.getLogger(__name__)

STOP_SECONDS = 20.0  # then it is killed
TAIL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Running:
    """Belongs to the process that started it, not to an event loop. Its methods may be called at any time and again."""

    name: str
    url: str = field(repr=False)  # may hold a password
    pid: int
    log: Path
    child: Child = field(repr=False, compare=False)
    companions: tuple[Child, ...] = field(repr=False, compare=False)  # end after it
    stop_signal: signal.Signals = field(repr=False, compare=False)
    state_file: Path = field(repr=False, compare=False)

    @property
    def alive(self) -> bool:
        return self.child.poll() is None

    async def stop(self) -> None:
        """Ends it cleanly, or by SIGKILL after 20 s; returns when it and all that it started are gone."""
        await asyncio.to_thread(self._end, self.stop_signal)

    async def kill(self) -> None:
        """SIGKILL, to all its processes; returns when they are gone."""
        await asyncio.to_thread(self._end, None)

    async def pause(self) -> None:
        """Returns when all its processes stand still: connections stay open, and nothing answers."""
        if self.alive:
            await asyncio.to_thread(pause, self.child.process)

    async def resume(self) -> None:
        if self.alive:
            await asyncio.to_thread(resume, self.child.process)

    def log_tail(self, lines: int) -> str:
        """The last lines of its log, of its last 64 KiB at most. Reads a file: not for the event loop."""
        return tail(self.log, lines)

    def _end(self, first: signal.Signals | None) -> None:
        ours = (self.child, *self.companions)
        clean = [child.poll() is not None or end(child.process, first, STOP_SECONDS) for child in ours]
        for child in ours:
            child.poll()
        if first is not None:
            self._forget()
            if not all(clean):
                logger.warning("%s did not stop within %g s and was killed", self.name, STOP_SECONDS)

    def _forget(self) -> None:
        """Removes the state file, unless it is that of a later start in the same folder."""
        try:
            if json.loads(self.state_file.read_bytes())["server"][0] == self.pid:
                self.state_file.unlink()
        except FileNotFoundError:
            return


def tail(log: Path, lines: int, start: int = 0) -> str:
    """The last lines of a log that were written after its byte `start`."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - TAIL_BYTES))
            written = file.read(TAIL_BYTES).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(written[-lines:]) if lines > 0 else ""
