"""How far a long command is: a bar with rate and time left, on a terminal's stderr; nothing anywhere else."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


class Bars:
    """`projections.verify.Tell` on a terminal: one bar a stage, the newest below."""

    def __init__(self, progress: "Progress | None") -> None:
        self._progress = progress

    def stage(self, name: str, start: int, goal: int) -> Callable[[int], None]:
        progress = self._progress
        if progress is None:
            return lambda _: None
        task = progress.add_task(name, total=max(goal, 1), completed=start)

        def step(done: int) -> None:
            progress.update(task, completed=done, total=max(goal, done, 1))

        return step


@contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """One alone, which is told how far it is, of `total`; gone at the end."""
    with bars(stay=False) as shown:
        yield shown.stage(title, 0, total)


@contextmanager
def bars(*, stay: bool = True) -> Iterator[Bars]:
    """While it is open, what is told is shown; afterwards, if it is to `stay`."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield Bars(None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f}/s")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeLeft())
    with Progress(*columns, console=Console(stderr=True), transient=not stay) as progress:
        yield Bars(progress)
