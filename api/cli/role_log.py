"""Keeps what a child process prints: in a file of bounded size, and its last lines for telling why it ended."""

import os
import threading
from collections import deque
from pathlib import Path

FILE_MAX_BYTES = 10 * 1024 * 1024  # the file before it is kept beside it as `<name>.1`: twice as much at most
LAST_LINES = 20
_CHUNK = 64 * 1024


class RoleLog:
    """The output of one role over all its restarts.

    A thread reads the pipe, so that a slow disk never holds up the event loop; it ends with the last writer of the
    pipe. A file that is full is renamed at the end of a line: no line is lost or cut.
    """

    def __init__(self, path: Path, max_bytes: int = FILE_MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._tail: deque[bytes] = deque(maxlen=LAST_LINES)
        self._reader: threading.Thread | None = None

    def open_pipe(self) -> int:
        """The end that a child writes to; the caller closes its copy once the child has it."""
        self._tail.clear()
        read_end, write_end = os.pipe()
        self._reader = threading.Thread(target=self._copy, args=(read_end,), name=f"log {self.path.stem}", daemon=True)
        self._reader.start()
        return write_end

    def wait_for_the_end(self, timeout: float) -> None:
        """Returns when all that was printed is in the file, or after `timeout` seconds. Blocks: call it in a thread."""
        if self._reader is not None:
            self._reader.join(timeout)

    def last_words(self) -> str:
        """The line that best tells why a role ended: its last `Error: ...`, else its last line, else nothing."""
        lines = [line.decode(errors="replace").strip() for line in list(self._tail)]
        errors = [line for line in lines if line.startswith("Error: ")]
        last = (errors or [line for line in lines if line] or [""])[-1]
        return last.removeprefix("Error: ")

    def _copy(self, read_end: int) -> None:
        unfinished = b""
        with os.fdopen(read_end, "rb", buffering=0) as pipe:
            while chunk := pipe.read(_CHUNK):
                *whole, unfinished = (unfinished + chunk).split(b"\n")
                self._keep(whole)
                if len(unfinished) > self._max_bytes:
                    self._keep([unfinished])
                    unfinished = b""
        self._keep([unfinished] if unfinished else [])

    def _keep(self, lines: list[bytes]) -> None:
        """Writes whole lines. A disk that takes nothing costs the lines: the role itself must not be held up."""
        self._tail.extend(lines)
        if not lines:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(b"\n".join(lines) + b"\n")
                full = file.tell() >= self._max_bytes
            if full:
                self.path.replace(self.path.with_suffix(self.path.suffix + ".1"))
        except OSError:
            return
