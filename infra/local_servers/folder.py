"""A server's folder: who uses it, and which ones serve all users of this machine.

`server.json` names the process that started the server, the server, and its companions. It is written as soon as they
run and removed when they were stopped, so it outlives only kills:

- starter and server live: the folder is in use, and a second start is refused;
- the starter is gone: the server is an orphan (mostly ending already, by its death signal). The next start stops it
  and starts anew; an orphan is never adopted, because nobody holds the leash of one;
- the server is gone: the next start ends what is left of its companions.

Two starts at the same moment are told apart by a lock that is held until the file is written.
"""

import errno
import fcntl
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local_servers.diagnosis import disk_full
from infra.local_servers.errors import LocalServerError, NotYetFree
from infra.local_servers.process import Process, end

STATE = "server.json"
NEEDED_BYTES = 200 * 1024 * 1024  # journals and write-ahead logs of an empty server, and room to work
ORPHAN_SECONDS = 20.0


def prepare(name: str, folder: Path, needed_bytes: int = NEEDED_BYTES) -> Path:
    """Makes the folder, and looks whether there is room in it. Returns it as absolute. Raises LocalServerError."""
    folder = folder.absolute()
    with readable_errors(name, folder):
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < needed_bytes:
            raise disk_full(name, folder)
    return folder


@contextmanager
def readable_errors(name: str, folder: Path) -> Iterator[None]:
    """Turns what the file system refuses into a line that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise disk_full(name, folder) from error
        place = error.filename or folder
        raise LocalServerError(
            f"{name} cannot use {place}: {error.strerror}; name another folder, or mend this one"
        ) from error


@contextmanager
def sole_start(name: str, folder: Path) -> Iterator[None]:
    """One start in a folder at a time; does not wait. Freed by the kernel if we are killed."""
    with readable_errors(name, folder):
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _take(lock, name, folder)
        yield
    finally:
        os.close(lock)


def _take(lock: int, name: str, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LocalServerError(
            f"{name} is just being started in {folder} by another process: wait for it, or name another folder"
        ) from error


def free(name: str, folder: Path, stop_signal: signal.Signals) -> None:
    """Ends what an earlier, killed starter left running in the folder.

    Refuses a folder in use, by NotYetFree: its server may have been killed just now.
    """
    state = _read(folder)
    if state is None:
        return
    starter, server, *companions = state
    if starter.alive() and server.alive():
        raise NotYetFree(
            f"{name} runs in {folder} already (process {server.pid}, started by process {starter.pid}): "
            "stop that one, or name another folder"
        )
    end(server, stop_signal, ORPHAN_SECONDS)
    for companion in companions:
        end(companion, signal.SIGTERM, ORPHAN_SECONDS)


def last_server(folder: Path) -> Process | None:
    """The server that was killed here, if the last one was not stopped."""
    state = _read(folder)
    return state[1] if state else None


def write_state(folder: Path, server: Process, *companions: Process) -> None:
    """Whole or not at all."""
    starter = Process.of(os.getpid())
    assert starter
    state = {
        "starter": [starter.pid, starter.born],
        "server": [server.pid, server.born],
        "companions": [[companion.pid, companion.born] for companion in companions],
    }
    new = folder / f"{STATE}.new"
    new.write_text(json.dumps(state))
    new.replace(folder / STATE)


def _read(folder: Path) -> list[Process] | None:
    try:
        state = json.loads((folder / STATE).read_bytes())
        return [Process(*one) for one in (state["starter"], state["server"], *state["companions"])]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def cache_folder() -> Path:
    """Where unpacked servers are kept: `$XDG_CACHE_HOME/app-manager`, else `~/.cache/app-manager`.

    For root `/var/cache/app-manager`: PostgreSQL runs as another user then, who may not read root's home.
    """
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named).absolute() / "app-manager"
    return Path("/var/cache/app-manager") if os.geteuid() == 0 else Path.home() / ".cache" / "app-manager"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for servers that PostgreSQL's user can reach, too; removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="app-manager-"))
    try:
        folder.chmod(0o711)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
