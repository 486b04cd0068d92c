"""What `up` shows: plain lines and tables, readable on a terminal and in a file, and harmless when nobody reads."""

from contextlib import suppress

from rich.console import Console, RenderableType

_WIDTH_OF_A_FILE = 120


class Terminal:
    """Standard output. A terminal that was closed or a reader that went away costs the text, not the service."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False)
        if not self._console.is_terminal:
            self._console.width = _WIDTH_OF_A_FILE

    def tell(self, text: str = "") -> None:
        """As it is, never wrapped: what is printed can be pasted."""
        with suppress(OSError, ValueError):
            print(text, flush=True)

    def show(self, table: RenderableType) -> None:
        with self._console.capture() as captured:
            self._console.print(table)
        self.tell(captured.get().rstrip())
