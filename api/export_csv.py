"""Entries as CSV: RFC 4180, with nothing that a spreadsheet takes for a formula (contract http.md 8.2)."""

import csv
import io
from collections.abc import AsyncIterator, Sequence

from api.export_columns import HEADINGS
from api.export_rows import Row

FORMULA = ("=", "+", "-", "@", "\t", "\r")


async def csv_of(pages: AsyncIterator[Sequence[Row]]) -> AsyncIterator[bytes]:
    """The file, page by page, its first line with the first of them. Raises what `pages` does."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(HEADINGS.values())
    async for page in pages:
        writer.writerows([list(map(guarded, row)) for row in page])
        yield _taken(text)
    if text.tell():
        yield _taken(text)


def guarded(cell: str) -> str:
    """A cell that would begin a formula begins with an apostrophe instead, which spreadsheets take for text."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _taken(text: io.StringIO) -> bytes:
    written = text.getvalue().encode(errors="replace")
    text.seek(0)
    text.truncate()
    return written
