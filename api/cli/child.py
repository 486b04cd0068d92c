"""A child process under supervision: in a session of its own, so that Ctrl-C reaches it only through us, and bound to
the life of this process, so that nothing is left behind even when this process is killed (Linux)."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from api.cli.ending import FAILED, USAGE
from api.cli.role_log import RoleLog
from api.cli.supervisor import Ended
from infra.local_servers.process import LEASH

_LAST_OUTPUT_SECONDS = 2.0


def leashed(argv: Sequence[str]) -> list[str]:
    """The command that becomes `argv` (an absolute path first) in a session of its own, killed when we end.

    The kernel sends the signal when the thread that started it ends: that is the main thread, with the event loop.
    """
    leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(int(signal.SIGKILL)), "", "."]
    return [*leash, *argv]


class ChildProcess:
    """One command as a service. Exit codes 1 and 2 are its refusal to run: starting it again would change nothing."""

    def __init__(self, name: str, argv: Sequence[str], environment: Mapping[str, str], log: RoleLog) -> None:
        self.name = name
        self._argv = argv
        self._environment = environment
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        output = self._log.open_pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *leashed(self._argv),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
            )
        finally:
            os.close(output)

    async def wait(self) -> Ended:
        assert self._process is not None, "started before"
        code = await self._process.wait()
        self._kill_group()  # what it started itself and left behind
        await asyncio.to_thread(self._log.wait_for_the_end, _LAST_OUTPUT_SECONDS)
        return Ended(self._reason(code), final=code in {FAILED, USAGE})

    async def stop(self, grace: float) -> bool:
        """Asks it to end, and kills it after `grace` seconds. False when it had to be killed."""
        process = self._process
        if process is None or process.returncode is not None:
            return True
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), grace)
        except TimeoutError:
            return False
        finally:
            self._kill_group()
            await process.wait()
        return True

    async def kill(self) -> None:
        """Ends it and all that it started, now."""
        if self.alive:
            self._kill_group()
            await self.wait()

    def _kill_group(self) -> None:
        """With all that it started. Called while it lives or at once after its end, so the id is its own."""
        assert self._process is not None, "started before"
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()  # it may be too young to have its session
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _reason(self, code: int) -> str:
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        words = self._log.last_words() if code > 0 else ""
        return f"{words} ({how})" if words else how
