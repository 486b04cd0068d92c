"""Entries as CSV: RFC 4180, with nothing that a spreadsheet takes for a formula (contract http.md 8.2)."""

import csv
import io
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

from projections.queries import Export

HEADINGS = {
    "app_id": "Application ID",
    "portal": "Portal",
    "title": "Job Title",
    "company_name": "Company",
    "location": "Location",
    "status": "Status",
    "created_at": "Created At",
    "applied_at": "Applied At",
    "error_reason": "Error Reason",
}
FORMULA = ("=", "+", "-", "@", "\t", "\r")


async def csv_of(export: Export) -> AsyncIterator[bytes]:
    """The file, page by page, its first line with the first of them. Raises what `Export.pages` does."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(HEADINGS.values())
    async for page in export.pages():
        writer.writerows([_row(entry) for entry in page])
        yield _taken(text)
    if text.tell():
        yield _taken(text)


def cell(value: object) -> str:
    """What stands in a cell; empty for null."""
    if value is None:
        return ""
    text = value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def _row(entry: Mapping[str, Any]) -> list[str]:
    return [cell(entry.get(name)) for name in HEADINGS]


def _taken(text: io.StringIO) -> bytes:
    written = text.getvalue().encode(errors="replace")
    text.seek(0)
    text.truncate()
    return written
