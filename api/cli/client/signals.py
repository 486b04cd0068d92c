"""Ctrl-C, SIGTERM and a closed terminal: they end a command where it stands, after it has cleaned up.

Only inside the event loop they must not be raised: libraries there take whatever is raised for an error of the network.
What is waited for is cancelled instead, and the signal told when the loop has ended.
"""

import asyncio
import signal
import threading
from collections.abc import Coroutine, Iterator
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
    """Those that have come. `raise_any` raises KeyboardInterrupt, or SystemExit with the exit code that shells give."""

    def __init__(self) -> None:
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

    async def waiting(self, step: Coroutine[Any, Any, T]) -> T:
        """A step of the loop, which a signal cancels."""
        self._waiting = asyncio.current_task()
        return await step

    def raise_any(self) -> None:
        """To be called when the loop has ended, however it did."""
        self._waiting = None
        if self._came is not None:
            _raise(self._came)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        waiting, again = self._waiting, self._came is not None
        self._came = number
        if waiting is None or again:
            _raise(number)
        else:
            waiting.get_loop().call_soon_threadsafe(waiting.cancel)


def _raise(number: int) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
