"""Reads the text of PDFs: a program of its own, run by `CvReader` (cv_text.py), so that no PDF can harm a worker.

It reads a length (8 bytes, big-endian) and that many bytes of PDF, answers with a length and that many bytes of UTF-8,
or with the length -1 for a PDF that cannot be read, and so on until its input ends. It bounds itself as well: memory by
RLIMIT_AS, and time by an alarm that ends it even when nobody is left to stop it.

Arguments: seconds, bytes of memory, pages, characters.
"""

import contextlib
import io
import os
import resource
import signal
import struct
import sys
from typing import BinaryIO

from pypdf import PageObject, PdfReader

LENGTH = struct.Struct(">q")
UNREADABLE = -1
SPARE_SECONDS = 1.0  # whoever runs this stops it first


def main() -> None:
    seconds, memory, pages, characters = map(int, sys.argv[1:])
    _bound(memory)
    while pdf := _next(sys.stdin.buffer):
        signal.setitimer(signal.ITIMER_REAL, seconds + SPARE_SECONDS)  # its signal ends the process
        text = _text(pdf, pages, characters)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _answer(sys.stdout.buffer, text)


def _bound(memory: int) -> None:
    os.nice(5)
    with contextlib.suppress(ValueError, OSError):  # not every system knows this limit
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _next(source: BinaryIO) -> bytes:
    head = source.read(LENGTH.size)
    return source.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else b""


def _answer(sink: BinaryIO, text: str | None) -> None:
    content = (text or "").encode("utf-8", "replace")  # a PDF may hold halves of characters
    sink.write(LENGTH.pack(UNREADABLE if text is None else len(content)))
    sink.write(content)
    sink.flush()


def _text(pdf: bytes, pages: int, characters: int) -> str | None:
    """The first pages' text, so many characters of it. None if it cannot be read, or there is none as in a scan."""
    found: list[str] = []
    left = characters
    try:
        reader = PdfReader(io.BytesIO(pdf))
        for number in range(min(pages, len(reader.pages))):
            page = _page_text(reader.pages[number])[:left]
            found.append(page)
            left -= len(page)
            if left <= 0:
                break
    except Exception:
        return None
    text = "\n".join(found)
    return text if text.strip() else None


def _page_text(page: PageObject) -> str:
    """Nothing for a page that cannot be read: the others may say enough."""
    try:
        return page.extract_text()
    except MemoryError:
        raise
    except Exception:
        return ""


if __name__ == "__main__":
    main()
