"""Reads the tables of the published contract, so that tests compare the code with what users were told."""

import re
from itertools import groupby
from pathlib import Path

PUBLISHED = Path(__file__).parent / "contract" / "published"


def table(document: str, heading: str, number: int = 1) -> list[dict[str, str]]:
    """The rows of a table below a heading, by default the first, each by the names of its columns."""
    lines_below = section(document, heading).splitlines()
    tables = [list(lines) for is_table, lines in groupby(lines_below, _is_row) if is_table]
    columns, _rule, *body = map(_cells, tables[number - 1])
    return [dict(zip(columns, row, strict=True)) for row in body]


def section(document: str, heading: str) -> str:
    """What stands below a heading, until the next one."""
    text = (PUBLISHED / document).read_text(encoding="utf-8")
    below = re.split(rf"^#+ {re.escape(heading)}.*$", text, maxsplit=1, flags=re.MULTILINE)[1]
    return re.split(r"^#+ ", below, maxsplit=1, flags=re.MULTILINE)[0]


def codes(cell: str) -> list[str]:
    """What stands in `code` in a cell."""
    return re.findall(r"`([^`]*)`", cell)


def _is_row(line: str) -> bool:
    return line.startswith("|")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
