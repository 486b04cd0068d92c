"""A signal at any line of a step of the loop: it is told when the loop has ended, and nothing is left behind."""

import asyncio
import contextlib
import itertools
import signal
import sys
from types import FrameType

import pytest

from api.cli.client.signals import Signals

pytestmark = [
    pytest.mark.filterwarnings("error::RuntimeWarning"),
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]


class AtLine:
    """Sends Ctrl-C at the nth line that runs inside `Signals.run`, the library's included."""

    def __init__(self, line: int) -> None:
        self._left = line
        self.was_sent = False

    def __call__(self, frame: FrameType, event: str, _value: object) -> "AtLine":
        if event == "line" and not self.was_sent:
            self._left -= 1
            if self._left < 0:
                self.was_sent = True
                signal.raise_signal(signal.SIGINT)
        return self


def interrupted(line: int) -> tuple[bool, bool, bool]:
    """Whether the signal was sent, whether the step came to its end, and whether the command was interrupted."""
    signals, at_line, was_raised, ended = Signals(), AtLine(line), False, False

    async def step() -> None:
        nonlocal ended
        await asyncio.sleep(0.001)
        ended = True

    with asyncio.Runner() as runner, signals.heard():
        runner.run(asyncio.sleep(0))
        try:
            sys.settrace(at_line)
            signals.run(runner, step)
        except KeyboardInterrupt:
            was_raised = True
        finally:
            sys.settrace(None)
        assert asyncio.all_tasks(runner.get_loop()) == set()
    return at_line.was_sent, ended, was_raised


def test_a_signal_at_any_line_ends_the_command_and_leaves_nothing_behind() -> None:
    tracing = sys.gettrace()
    try:
        lines = list(itertools.takewhile(lambda line: line[0], map(interrupted, itertools.count())))
    finally:
        sys.settrace(tracing)
    ended = [step_ended for _, step_ended, _ in lines]
    assert len(lines) > 50
    assert all(was_raised for *_, was_raised in lines)
    assert (ended[0], ended[-1]) == (False, True)
    assert ended == sorted(ended)  # what comes before its end keeps it from it


def test_a_second_one_ends_what_does_not_let_itself_be_cancelled() -> None:
    async def stubborn() -> None:
        asyncio.get_running_loop().call_later(0.05, signal.raise_signal, signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    signals = Signals()
    with asyncio.Runner() as runner, signals.heard(), pytest.raises(KeyboardInterrupt):
        signals.run(runner, stubborn)
