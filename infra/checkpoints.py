"""The folder of the signed checkpoints: JSON Lines files, appended to and never changed (contract config.md).

A checkpoint is durable when `append` returns: written, synced, and so is the folder when a file begins. A kill in the
middle leaves a line without its end, which nobody has relied on: the next append removes it, readers leave it out. One
writer at a time holds the lock file; which checkpoint is the last is read under that lock, so that two relays, of which
one does not know yet that it has lost its lease, never continue the chain twice.

A file begins at a fixed number, `checkpoints-000000001.jsonl`, `-000010001`, and so on: in the order of their names.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.seals import Checkpoint

LINES = 10_000  # of a file
NAME = "checkpoints-{:09}.jsonl"
GLOB = "checkpoints-*.jsonl"
LOCK = ".lock"


class CheckpointsBroken(Exception):
    """The last checkpoint cannot be read, so that the chain cannot go on. One line."""


@dataclass(frozen=True, slots=True)
class Line:
    """`place` is for people: file and line."""

    content: bytes
    place: str


@dataclass(frozen=True, slots=True)
class _End:
    """How the folder ends: its newest file, that file's size, the size of its whole lines, and the last checkpoint."""

    file: Path
    size: int
    whole: int
    last: Checkpoint | None


@dataclass(slots=True)
class CheckpointFolder:
    """Its methods block, and raise OSError."""

    path: Path
    _end: _End | None = None

    def lines(self) -> Iterator[Line]:
        """All that there are now, in order. A last line without its end is left out."""
        return _lines_of([(file, file.stat().st_size) for file in self._files()])

    def last(self) -> Checkpoint | None:
        """Raises CheckpointsBroken."""
        files = self._files()
        if not files:
            self._end = None
        elif self._end is None or (self._end.file, self._end.size) != (files[-1], files[-1].stat().st_size):
            self._end = _end_of(files)
        return self._end.last if self._end else None

    def append(self, make: Callable[[Checkpoint | None], Checkpoint | None]) -> None:
        """Adds what `make` gives for the last one. Raises CheckpointsBroken; BlockingIOError while another appends."""
        self.path.mkdir(parents=True, exist_ok=True)
        with self._locked():
            made = make(self.last())
            if made is not None:
                self._write(made)

    def _write(self, checkpoint: Checkpoint) -> None:
        before, self._end = self._end, None  # asked anew if the next lines fail
        file = self.path / NAME.format((checkpoint.number - 1) // LINES * LINES + 1)
        goes_on = before is not None and before.file == file
        with file.open("ab") as opened:
            if before is not None and goes_on and before.whole < before.size:
                opened.truncate(before.whole)
            opened.write(checkpoint.line + b"\n")
            opened.flush()
            os.fsync(opened.fileno())
            size = os.fstat(opened.fileno()).st_size
        if not goes_on:
            self._sync_folder()
        self._end = _End(file, size, size, checkpoint)

    def _files(self) -> list[Path]:
        try:
            found = sorted(self.path.iterdir())  # unlike `glob`, it tells a folder that may not be read
        except FileNotFoundError:
            return []
        return [file for file in found if file.match(GLOB)]

    def _sync_folder(self) -> None:
        opened = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(lock)


def _lines_of(files: Sequence[tuple[Path, int]]) -> Iterator[Line]:
    """Of each file the lines that were in its first bytes."""
    for file, size in files:
        left = size
        with file.open("rb") as opened:
            for number, content in enumerate(opened, 1):
                left -= len(content)
                if left < 0:
                    break
                if content.endswith(b"\n"):
                    yield Line(content[:-1], f"{file.name}:{number}")


def _end_of(files: Sequence[Path]) -> _End:
    """A newest file that was begun, and got no whole line, is there all the same. Raises CheckpointsBroken."""
    contents = (file.read_bytes() for file in reversed(files))
    newest = next(contents)
    whole = newest.rfind(b"\n") + 1
    lines = newest[:whole].splitlines() or next(contents, b"").splitlines()
    try:
        last = Checkpoint.parse(lines[-1]) if lines else None
    except ValueError:
        raise CheckpointsBroken(f"the last line in {files[-1].parent} is no checkpoint") from None
    return _End(files[-1], len(newest), whole, last)
