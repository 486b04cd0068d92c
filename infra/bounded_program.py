"""What a program does that `BoundedProcess` runs: it bounds itself, and exchanges frames over its standard streams.

Standard library only, and little of it: a program's start is mostly its imports.
"""

import contextlib
import os
import resource
import struct
from typing import BinaryIO

LENGTH = struct.Struct(">q")
NONE = -1
NICENESS = 5


def bound(memory: int, file: int = 0) -> None:
    """Bytes of memory, and of each file that it writes. A write beyond that is an OSError (EFBIG)."""
    os.nice(NICENESS)
    with contextlib.suppress(ValueError, OSError):  # not every system knows this limit
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file, file))


def receive(source: BinaryIO) -> bytes | None:
    """The next frame; None once its input has ended, also in the middle of one."""
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    [length] = LENGTH.unpack(head)
    content = source.read(length)
    return content if len(content) == length else None


def send(sink: BinaryIO, content: bytes | None) -> None:
    sink.write(LENGTH.pack(NONE if content is None else len(content)))
    sink.write(content or b"")
    sink.flush()
