"""Ctrl-C, SIGTERM and a closed terminal: they end a command where it stands, after it has cleaned up.

Only while the event loop runs they must not be raised: libraries there take whatever is raised for an error of the
network, and a task that has not begun would be left behind. What is waited for is cancelled instead, and the signal
raised when the loop has ended.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

_HEARD = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,  # not so under `nohup`
}


class Signals:
    """Those that have come. They raise KeyboardInterrupt, or SystemExit with the exit code that shells give."""

    def __init__(self) -> None:
        self._is_looping = False
        self._waiting: asyncio.Task[Any] | None = None
        self._came: int | None = None

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Those that mean what they usually do, if this is the main thread."""
        is_main = threading.current_thread() is threading.main_thread()
        before = {number: usual for number, usual in _HEARD.items() if is_main and signal.getsignal(number) is usual}
        for number in before:
            signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, usual in before.items():
                signal.signal(number, usual)

    def run(self, runner: asyncio.Runner, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """A step of the loop, which a signal cancels. It is made inside, so that none is made and then not run."""
        self._is_looping = True
        try:
            return runner.run(self._cancelled_by_any(step))
        finally:
            self._is_looping = False
            if self._came is not None:
                _raise(self._came)

    async def _cancelled_by_any(self, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self._waiting = asyncio.current_task()
        try:
            if self._came is not None:
                raise asyncio.CancelledError
            return await step()
        finally:
            self._waiting = None

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        is_second, self._came = self._came is not None, number
        if not self._is_looping or is_second:
            _raise(number)
        elif self._waiting is not None:
            self._waiting.get_loop().call_soon_threadsafe(self._waiting.cancel)


def _raise(number: int) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
