"""The command line as its users have it: in this process, as a process of its own, or on a terminal."""

import asyncio
import fcntl
import os
import pty
import shlex
import struct
import sys
import termios
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import orjson
from typer.testing import CliRunner

from api.cli.client.keys import KEYS
from api.cli.main import main
from tests.api import User

BOUND_SECONDS = 20.0
COMMAND = [sys.executable, "-P", "-m", "api.cli"]
_ON_ITS_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
_KEPT = ("PATH", "LANG", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")


@dataclass(frozen=True, slots=True)
class Done:
    """How it ended, and what it wrote."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Of an output that is one JSON document with an indent of two, and nothing else."""
        document = orjson.loads(self.stdout)
        assert self.stdout == orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n"
        return document

    @property
    def rows(self) -> list[list[str]]:
        """The cells of its tables."""
        lines = [line for line in self.stdout.splitlines() if line.startswith("│") and line.count("│") > 2]
        return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]

    @property
    def fields(self) -> dict[str, str]:
        """What stands in its panels."""
        lines = [line.strip("│ ") for line in self.stdout.splitlines() if line.startswith("│") and line.count("│") == 2]
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def ended_well(self) -> Self:
        assert (self.code, self.stderr) == (0, ""), self
        return self

    def failed(self, first_line: str, code: int = 1) -> list[str]:
        """Checks the shape of every error (contract cli.md 3), and gives the lines below."""
        first, *more = self.stderr.splitlines()
        assert (self.code, first, self.stdout) == (code, f"Error: {first_line}", "")
        return more


@dataclass(frozen=True, slots=True)
class Shell:
    """Somebody's shell: a home, a current folder, and what is exported."""

    home: Path
    exported: Mapping[str, str] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.home / ".config" / "app-manager" / "config.env"

    def of(self, user: User) -> Self:
        """With the address of the service, and that user's token."""
        return replace(self, exported={"APP_MANAGER_API_URL": user.url, "APP_MANAGER_API_TOKEN": user.token})

    def where(self, **exported: str) -> Self:
        """With these exported, too."""
        return replace(self, exported={**self.exported, **exported})

    def keeping(self, text: str) -> Self:
        """With this in the file."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(text)
        return self

    def run(self, *arguments: str, types: str | None = None, **exported: str) -> Done:
        """In this process, which must be in the home folder. Not on the event loop: it has one of its own.

        `types`: a person sits at a terminal, has typed this, and sees on it what goes to stderr.
        """
        environment: dict[str, str | None] = {key.variable: None for key in KEYS}
        environment |= {"NO_COLOR": None, "HOME": str(self.home), **self.exported, **exported}
        with ExitStack() as stack:
            stdout, stderr, _ = stack.enter_context(CliRunner().isolation(env=environment))
            seen = stack.enter_context(_person(types)) if types is not None else lambda: stderr.getvalue().decode()
            code = _exit_code(arguments)
            sys.stdout.flush()
            sys.stderr.flush()
            return Done(code, stdout.getvalue().decode(), seen())

    async def runs(self, *arguments: str, types: str | None = None, **exported: str) -> Done:
        """The same, beside the event loop."""
        return await asyncio.to_thread(lambda: self.run(*arguments, types=types, **exported))

    async def process(self, *arguments: str, **exported: str) -> Done:
        """As a process, in pipes."""
        process = await self.where(**exported).start(*COMMAND, *arguments)
        stdout, stderr = await asyncio.wait_for(process.communicate(), BOUND_SECONDS)
        assert process.returncode is not None
        return Done(process.returncode, stdout.decode(), stderr.decode())

    async def line(self, line: str, **exported: str) -> Done:
        """A line of bash, in which `app-manager` is this one. The exit code is that of the first in its pipe."""
        script = f'app-manager() {{ {shlex.join(COMMAND)} "$@"; }}; {line}; exit "${{PIPESTATUS[0]}}"'
        process = await self.where(**exported).start("bash", "-c", script)
        stdout, stderr = await asyncio.wait_for(process.communicate(), BOUND_SECONDS)
        assert process.returncode is not None
        return Done(process.returncode, stdout.decode(), stderr.decode())

    async def start(self, *command: str, stdout: int = asyncio.subprocess.PIPE) -> Process:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=self.home,
            env=self._environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
        )

    @asynccontextmanager
    async def terminal(
        self, *arguments: str, columns: int = 120, stdout: int | None = None
    ) -> AsyncIterator["Terminal"]:
        """On a terminal of that width; `stdout` may lead elsewhere."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        environment = {"TERM": "xterm-256color", **self._environment()}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _ON_ITS_TERMINAL, *COMMAND, *arguments,
            cwd=self.home, env=environment, start_new_session=True,
            stdin=theirs, stdout=theirs if stdout is None else stdout, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        terminal = Terminal(process, ours)
        reading = asyncio.create_task(terminal.read())
        try:
            yield terminal
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await reading
            os.close(ours)

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        return {**kept, "HOME": str(self.home), **self.exported}


def _exit_code(arguments: Sequence[str]) -> int:
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


@contextmanager
def _person(types: str) -> Iterator[Callable[[], str]]:
    """At the standard input and error of this process; gives what is seen there, without the echo of what is typed."""
    ours, theirs = pty.openpty()
    echoing = termios.tcgetattr(theirs)
    echoing[3] &= ~termios.ECHO
    termios.tcsetattr(theirs, termios.TCSANOW, echoing)
    os.write(ours, types.encode())
    before = sys.stdin, sys.stderr
    sys.stdin, sys.stderr = open(theirs), open(theirs, "w", closefd=False)  # noqa: SIM115  closed below

    def seen() -> str:
        """All of it: the kernel tells its end when nobody has the terminal open any more."""
        sys.stderr.close()
        sys.stdin.close()
        shown = b""
        with suppress(OSError):
            while chunk := os.read(ours, 65536):
                shown += chunk
        return shown.decode().replace("\r\n", "\n")

    try:
        yield seen
    finally:
        sys.stderr.close()
        sys.stdin.close()
        sys.stdin, sys.stderr = before
        os.close(ours)


class Terminal:
    """What a person sees, and types."""

    def __init__(self, process: Process, file: int) -> None:
        self.process = process
        self.seen = ""
        self._file = file
        self._changed = asyncio.Condition()
        self._ended = False

    async def read(self) -> None:
        while chunk := await asyncio.to_thread(self._chunk):
            await self._tell(chunk.decode(errors="replace"))
        self._ended = True
        await self._tell("")

    async def shows(self, text: str) -> None:
        """Waits until it does."""
        async with asyncio.timeout(BOUND_SECONDS), self._changed:
            await self._changed.wait_for(lambda: text in self.seen or self._ended)
        assert text in self.seen, self.seen

    async def types(self, text: str) -> None:
        await asyncio.to_thread(os.write, self._file, text.encode())

    async def ends(self) -> int:
        code = await asyncio.wait_for(self.process.wait(), BOUND_SECONDS)
        async with asyncio.timeout(BOUND_SECONDS), self._changed:
            await self._changed.wait_for(lambda: self._ended)
        return code

    def _chunk(self) -> bytes:
        try:
            return os.read(self._file, 65536)
        except OSError:  # nobody has it open any more
            return b""

    async def _tell(self, text: str) -> None:
        async with self._changed:
            self.seen += text.replace("\r\n", "\n")
            self._changed.notify_all()
