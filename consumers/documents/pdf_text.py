"""Reads the text of PDFs: a program of its own, run by `CvReader` (cv_text.py), so that no PDF can harm a worker.

A frame in is a PDF; the frame out is its text in UTF-8, or None for a PDF that cannot be read; and so on until its
input ends. An alarm ends it even when nobody is left to stop it.

Arguments: seconds, bytes of memory, pages, characters.
"""

import io
import signal
import sys

from pypdf import PageObject, PdfReader

from infra.bounded_program import bound, receive, send

SPARE_SECONDS = 1.0  # whoever runs this stops it first


def main() -> None:
    seconds, memory, pages, characters = map(int, sys.argv[1:])
    bound(memory)
    while pdf := receive(sys.stdin.buffer):
        signal.setitimer(signal.ITIMER_REAL, seconds + SPARE_SECONDS)  # its signal ends the process
        text = _text(pdf, pages, characters)
        signal.setitimer(signal.ITIMER_REAL, 0)
        send(
            sys.stdout.buffer, None if text is None else text.encode("utf-8", "replace")
        )  # it may hold half characters


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
