"""Processes: started so that they die with us, known by more than a number, ended with all that they started.

- A process is named by its id, the time it was started and the boot: an id alone may belong to another one by now.
- A child gets its death signal when the *thread* that started it ends, so all are started by one thread that lives as
  long as this process. If we are killed, even by SIGKILL, the kernel sends the signal.
- Nothing is ever looked for by name.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from infra.local_servers.errors import LocalServerError

LEASH = Path(__file__).with_name("leash.py")
POLL_SECONDS = 0.02
UNKNOWN_EXIT = 255
INHERITED = ("PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH")
KILL_SECONDS = 10.0  # the kernel takes that long only to write a core or wait for a disk


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a server runs as, where that is not ours."""

    name: str
    user: int
    group: int


@dataclass(frozen=True, slots=True)
class Process:
    """One process of this boot, and no other that may get its id later."""

    pid: int
    born: str

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        fields = _stat(pid)
        return cls(pid, _born(fields)) if fields else None

    def alive(self) -> bool:
        """A process that only waits to be reaped is not alive; one whose threads still hold its ports and files is."""
        fields = _stat(self.pid)
        if fields is None or _born(fields) != self.born:
            return False
        state, threads = fields[0], int(fields[17])
        return state not in "ZX" or threads > 1

    def stopped(self) -> bool:
        """Stands still by a signal."""
        fields = _stat(self.pid)
        return fields is not None and fields[0] in "tT"

    def send(self, signal_number: signal.Signals) -> None:
        if self.alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal_number)


class Child:
    """A process of ours. `poll` alone reaps it, so its id stays its own until then."""

    def __init__(self, pid: int, log_start: int) -> None:
        process = Process.of(pid)
        assert process, "a child keeps its id until it is reaped"
        self.process = process
        self.log_start = log_start  # what its log held before, in bytes
        self._exit_code: int | None = None

    def poll(self) -> int | None:
        """The exit code once it has ended, negative for a signal; never blocks."""
        if self._exit_code is None:
            try:
                pid, status = os.waitpid(self.process.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else in this process waits for every child
                self._exit_code = UNKNOWN_EXIT
            else:
                self._exit_code = os.waitstatus_to_exitcode(status) if pid else None
        return self._exit_code


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, where, as whom, and which signal it gets when we die."""

    words: tuple[str, ...]
    folder: Path
    log: Path  # takes all that it prints
    environment: Mapping[str, str]
    death_signal: signal.Signals
    account: Account | None = None


def environment(**more: str) -> dict[str, str]:
    """What a server gets of our environment: no secrets, and no variable that changes how it works."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return kept | {"LC_ALL": "C"} | more


async def spawn(command: Command) -> Child:
    """Started, not ready. Cancelled meanwhile, nothing is left running."""
    starting = asyncio.wrap_future(_lasting_thread(os.getpid()).submit(_spawn, command))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        child = await starting
        await asyncio.to_thread(end, child.process, None, 0)
        child.poll()
        raise


def end(process: Process, first: signal.Signals | None, seconds: float) -> bool:
    """Ends a process and all that it started: by `first` if given, and by SIGKILL what is left after `seconds`.

    Blocks, with a bound. Returns whether no SIGKILL was needed.
    """
    kin = family(process)
    if first is not None:
        process.send(first)
        resume(process)
        if _gone(kin, seconds):
            return True
    left = [*kin, *(late for late in family(process) if late not in kin)]
    for relative in left:
        relative.send(signal.SIGKILL)
    _gone(left, KILL_SECONDS)
    return False


def pause(process: Process) -> None:
    """Returns when it and all that it started stand still, also what it starts meanwhile. Blocks, with a bound."""
    deadline = time.monotonic() + KILL_SECONDS
    while moving := [relative for relative in family(process) if not relative.stopped()]:
        if time.monotonic() >= deadline:
            raise LocalServerError(f"process {moving[0].pid} cannot be paused: it waits for the disk; try again")
        for relative in moving:
            relative.send(signal.SIGSTOP)
        time.sleep(POLL_SECONDS)


def resume(process: Process) -> None:
    """Children first: a parent never runs without them."""
    for relative in reversed(family(process)):
        relative.send(signal.SIGCONT)


def family(process: Process) -> list[Process]:
    """The process and its living descendants, parents first."""
    children: dict[int, list[Process]] = {}
    for parent, child in _all_processes():
        children.setdefault(parent, []).append(child)
    found = [process]
    for relative in found:  # grows while it is read
        found += children.get(relative.pid, [])
    return [relative for relative in found if relative.alive()]


def _gone(processes: list[Process], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(process.alive() for process in processes):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _all_processes() -> Iterator[tuple[int, Process]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            yield int(fields[1]), Process(int(entry.name), _born(fields))


def _stat(pid: int) -> list[str] | None:
    """State, parent and so on (proc(5), from the third field): the name before them may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _born(fields: list[str]) -> str:
    return f"{_boot()}/{fields[19]}"


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@cache
def _lasting_thread(_pid: int) -> ThreadPoolExecutor:
    """One for each process: a fork does not take the thread along."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="local-servers")


def _spawn(command: Command) -> Child:
    account = f"{command.account.user}:{command.account.group}" if command.account else ""
    leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(int(command.death_signal)), account]
    writing = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    log_start = command.log.stat().st_size if command.log.exists() else 0
    pid = os.posix_spawn(
        sys.executable,
        [*leash, str(command.folder), *command.words],
        dict(command.environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(command.log), writing, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    return Child(pid, log_start)
