"""Reads the tables of the published contract, so that tests compare the code with what users were told."""

import re
from itertools import groupby
from pathlib import Path

PUBLISHED = Path(__file__).parent / "contract" / "published"
ADDED = Path(__file__).parent / "contract" / "additions"  # ours, in tables of the same form under the same headings


def table(document: str, heading: str, number: int = 1) -> list[dict[str, str]]:
    """The rows of a table below a heading, by default the first, each by the names of its columns.

    To the first, what this service adds to it is added.
    """
    rows = _rows(section(document, heading), number)
    added = _below((ADDED / document).read_text(encoding="utf-8"), heading) if (ADDED / document).exists() else None
    return rows if number > 1 or added is None else [*rows, *_rows(added, 1)]


def section(document: str, heading: str) -> str:
    """What stands below a heading, until the next one."""
    below = _below((PUBLISHED / document).read_text(encoding="utf-8"), heading)
    assert below is not None, f"{document} has no heading {heading}"
    return below


def _below(text: str, heading: str) -> str | None:
    parts = re.split(rf"^#+ {re.escape(heading)}.*$", text, maxsplit=1, flags=re.MULTILINE)
    return re.split(r"^#+ ", parts[1], maxsplit=1, flags=re.MULTILINE)[0] if len(parts) > 1 else None


def _rows(text: str, number: int) -> list[dict[str, str]]:
    tables = [list(lines) for is_table, lines in groupby(text.splitlines(), _is_row) if is_table]
    columns, _rule, *body = map(_cells, tables[number - 1])
    return [dict(zip(columns, row, strict=True)) for row in body]


def codes(cell: str) -> list[str]:
    """What stands in `code` in a cell."""
    return re.findall(r"`([^`]*)`", cell)


def _is_row(line: str) -> bool:
    return line.startswith("|")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
