"""What a client command prints: tables and panels for people, or the body for `jq` (contract cli.md 3).

On a terminal a table has its width and colours; anywhere else each row is one line of any length, without colours. What
comes from the service is shown without its control characters: a job's title cannot write on the user's screen.
"""

import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from io import UnsupportedOperation
from typing import TYPE_CHECKING, Any

from api.cli.client.keys import OutputFormat
from api.cli.ending import CommandFailed

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

NOTHING = "-"
_NEVER_WRAPS = 100_000  # columns
_STYLES = {"green": {"success", "healthy", "alive", "ready"}, "red": {"failed", "unhealthy", "not_ready"}}
_NOT_SHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # categories: controls, bidirectional marks, half characters, line breaks

Shown = "str | RenderableType"
Parts = Iterable["str | RenderableType"]


def plain(value: object) -> str:
    """One line of text that does nothing but be read; `-` for what is missing."""
    if value is None:
        return NOTHING
    return "".join(" " if unicodedata.category(letter) in _NOT_SHOWN else letter for letter in str(value)) or NOTHING


def shortened(value: object, length: int) -> str:
    text = plain(value)
    return text if len(text) <= length else f"{text[: length - 1]}…"


def when(timestamp: str | None) -> str:
    """`YYYY-MM-DD HH:MM:SS` in UTC."""
    if timestamp is None:
        return NOTHING
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return plain(timestamp)
    return f"{moment.astimezone(UTC) if moment.tzinfo else moment:%Y-%m-%d %H:%M:%S}"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], whole: str | None = None) -> "Table":
    """`whole`: the column whose cells are never cut or wrapped."""
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left")
    cells = [list(row) for row in rows]
    for number, name in enumerate(columns):
        width = max((len(row[number]) for row in cells), default=0) if name == whole else None
        made.add_column(name, no_wrap=name == whole, min_width=width, overflow="fold")
    for row in cells:
        made.add_row(*(Text(cell, style=_style(cell)) for cell in row))
    return made


def panel(title: str, fields: Iterable[tuple[str, str]]) -> "RenderableType":
    """A box of names and values."""
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in fields:
        grid.add_row(f"{name}:", Text(value, style=_style(value)))
    return Panel(grid, title=title, title_align="left", expand=False)


class Output:
    """Standard output, in one of the two formats."""

    def __init__(self, output_format: OutputFormat, *, no_color: bool = False) -> None:
        self.is_json = output_format is OutputFormat.JSON
        self._no_color = no_color

    def show(self, body: Any, parts: Callable[[Any], Parts]) -> None:
        """The body itself, or the parts that are made of it. Raises CommandFailed for a body that they do not fit."""
        if self.is_json:
            self.document(body)
            return
        try:
            shown = list(parts(body))
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            raise CommandFailed("the service answered in a form that this version cannot show (--json can)") from None
        self._write("".join(map(self._text, shown)))

    def document(self, body: Any) -> None:
        """Exactly one JSON document."""
        import orjson

        write(orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))

    def lines(self, *lines: str) -> None:
        """As they are, never wrapped."""
        self._write("".join(f"{line}\n" for line in lines))

    def _text(self, part: "str | RenderableType") -> str:
        if isinstance(part, str):
            return f"{part}\n"
        from rich.console import Console

        is_terminal = _is_terminal()
        console = Console(
            file=sys.stdout,
            force_terminal=is_terminal,
            no_color=self._no_color or None,
            width=None if is_terminal else _NEVER_WRAPS,
            markup=False,
            emoji=False,
            highlight=False,
        )
        narrowest = console.measure(part, options=console.options.update(width=_NEVER_WRAPS)).minimum
        console.width = max(console.width, narrowest)  # rather broken lines than cut ids
        with console.capture() as captured:
            console.print(part)
        return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())

    def _write(self, text: str) -> None:
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        write(text.encode(encoding, errors="replace"))


def write(content: bytes) -> None:
    """To standard output, at once. Raises CommandFailed; BrokenPipeError if its reader has gone."""
    if sys.stdout is None:  # it was closed before we began
        return
    try:
        sys.stdout.flush()
        _send(content)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandFailed(f"standard output cannot be written: {error.strerror}") from None


def _send(content: bytes) -> None:
    """Past the buffer, where what cannot be written would be tried again at the end of the process."""
    try:
        file = sys.stdout.fileno()
    except UnsupportedOperation:  # it leads to no file
        sys.stdout.buffer.write(content)
        return
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _style(text: str) -> str:
    return next((color for color, words in _STYLES.items() if text in words), "")
