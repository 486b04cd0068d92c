"""Builds one Excel file: a program of its own, run by `ExcelBuilds` (excel_builds.py) (contract http.md 8.3).

Frames in: rows as JSON, so many at a time, and an empty frame after the last. The one frame out is a word: BUILT, or
why not, which may come before the end. The file is FILE in the folder that is given, where its parts stand meanwhile;
one row at a time is in memory. When nobody wants the file any more, the program removes the folder and ends: it finds
its input ended, or its parent gone, which it looks after every half second.

Arguments: folder, seconds, bytes of memory, bytes of each file.
"""

import errno
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from xlsxwriter import Workbook
from xlsxwriter.exceptions import FileCreateError
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from api.export_columns import HEADINGS, STATUS
from infra.bounded_program import bound, receive, send

FILE = "applications.xlsx"
BUILT, TOO_LARGE, NO_ROOM = "built", "too large", "no room"
NO_ROOM_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM}
LOOK_SECONDS = 0.5
WIDEST = 50
PIXELS = 7  # of a character: so the file holds the very number, where `set_column` would add the cell's margins to it
HEADING = {"bold": True, "font_color": "#FFFFFF", "bg_color": "#4472C4", "align": "center"}
FILLS = {"success": "#C6EFCE", "failed": "#FFC7CE"}
# Excel reads `_x0041_` as the character of that number: what XML cannot hold is written so, and therefore an underscore
# that only looks like one as well. `<r>` begins a text with fonts, which XlsxWriter would pass on as it is, so that it
# could end the cell and begin a formula.
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4})|^<(?=r>)")


class Abandoned(Exception):
    """Nobody wants the file any more."""


class TextSheet(Worksheet):
    """A sheet whose cells hold any text, and come back from Excel as they were."""

    @staticmethod
    def _escape_control_characters(data: str) -> str:
        return UNSAFE.sub(lambda found: f"_x{ord(found[0]):04X}_", data)


def main() -> None:
    parent, folder = os.getppid(), Path(sys.argv[1])
    seconds, memory, file = map(int, sys.argv[2:])
    bound(memory, file)
    _look_after(parent, time.monotonic() + seconds)
    try:
        send(sys.stdout.buffer, _tried(folder).encode())
    except (Abandoned, BrokenPipeError):
        shutil.rmtree(folder, ignore_errors=True)


def _look_after(parent: int, end: float) -> None:
    def look(_number: int, _frame: FrameType | None) -> None:
        if os.getppid() != parent or time.monotonic() > end:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise Abandoned

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)


def _tried(folder: Path) -> str:
    """The word that tells how it went."""
    try:
        build(folder, _received())
    except Abandoned:
        raise
    except MemoryError:
        return NO_ROOM
    except Exception as error:
        cause = error.args[0] if isinstance(error, FileCreateError) else error
        number = cause.errno if isinstance(cause, OSError) else None
        if number == errno.EFBIG:
            return TOO_LARGE
        return NO_ROOM if number in NO_ROOM_ERRORS else f"{type(error).__name__}: {error}"
    return BUILT


def _received() -> Iterator[Sequence[str]]:
    while frame := receive(sys.stdin.buffer):
        yield from json.loads(frame)
    if frame is None:
        raise Abandoned


def build(folder: Path, rows: Iterable[Sequence[str]]) -> None:
    """Text cells only. The quote prefix of their style keeps them so when somebody edits one."""
    widths = list(map(len, HEADINGS.values()))
    with Workbook(str(folder / FILE), {"constant_memory": True, "tmpdir": str(folder)}) as book:
        sheet = book.add_worksheet("Applications", TextSheet)
        sheet.freeze_panes(1, 0)
        _write(sheet, 0, list(HEADINGS.values()), book.add_format(HEADING))
        formats = {status: book.add_format({"bg_color": fill, "quote_prefix": True}) for status, fill in FILLS.items()}
        for number, row in enumerate(rows, 1):
            _write(sheet, number, row, formats[row[STATUS]])
            widths = list(map(max, widths, map(len, row)))
        for column, width in enumerate(widths):
            sheet.set_column_pixels(column, column, PIXELS * min(width + 2, WIDEST))


def _write(sheet: Worksheet, number: int, row: Sequence[str], style: Format) -> None:
    for column, text in enumerate(row):
        if text:
            sheet.write_string(number, column, text, style)
        else:
            sheet.write_blank(number, column, None, style)


if __name__ == "__main__":
    main()
