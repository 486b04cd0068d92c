"""A body into a file or to standard output, in parts (contract cli.md 4: export).

A file gets its name when it is complete: until then it is written under another beside it, and removed when the
download fails or is interrupted. Only a kill leaves that other file behind. What is no ordinary file (a device, a pipe)
is written as it is.
"""

import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from api.cli.client.output import write
from api.cli.ending import CommandFailed, writing

if TYPE_CHECKING:
    from api.cli.client.connection import Download

_PLAIN_MODE = 0o666  # less the user's umask


def to_stdout(download: "Download") -> None:
    if sys.stdout is None:
        raise CommandFailed("standard output is closed")
    with _progress(download, shown=_is_file(sys.stdout.buffer)) as advance:
        for chunk in download.chunks():
            write(chunk)
            advance(len(chunk))


def to_file(download: "Download", file: BinaryIO) -> int:
    """How many bytes it has."""
    written = 0
    with _progress(download, shown=True) as advance:
        for chunk in download.chunks():
            written += file.write(chunk)
            advance(len(chunk))
    return written


@contextmanager
def written_when_complete(path: Path) -> Iterator[BinaryIO]:
    """A file to write. Leaving without an error gives it its name. Raises CommandFailed."""
    with writing(path):
        real, mode = _place(path)
        if mode is not None and not stat.S_ISREG(mode):
            beside, opened = None, os.open(real, os.O_WRONLY)
        else:
            beside = real.with_name(f".app-manager-{secrets.token_hex(4)}.part")
            opened = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PLAIN_MODE)
    try:
        with writing(path), os.fdopen(opened, "wb") as file:
            yield file
            file.flush()
            if beside is not None:
                if mode is not None:
                    os.fchmod(opened, stat.S_IMODE(mode))
                os.fsync(opened)
                beside.replace(real)
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)


def _place(path: Path) -> tuple[Path, int | None]:
    """Where links lead, and the mode of what is there."""
    real = Path(os.path.realpath(path))
    try:
        mode = real.stat().st_mode
    except FileNotFoundError:
        return real, None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "it is a folder")
    if not os.access(real, os.W_OK):
        raise PermissionError(13, os.strerror(13))
    return real, mode


@contextmanager
def _progress(download: "Download", *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, if that is a terminal. It is told how many bytes have come."""
    if not shown or sys.stderr is None or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("Export"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=download.length)
        yield lambda size: progress.advance(task, size)


def _is_file(stream: BinaryIO) -> bool:
    """On a terminal, or in a pipe to a program that shows it there, a bar would be in its way."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False
