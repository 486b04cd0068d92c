"""Ctrl-C, SIGTERM and a closed terminal, as events: the first asks for an orderly end, another for one at once."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from api.cli.ending import DONE, INTERRUPTED

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """What has been asked for so far."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.urged = asyncio.Event()
        self.exit_code = DONE

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Signals come here instead of ending the process. Only in the main thread."""
        loop = asyncio.get_running_loop()
        for number in _ENDING:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in _ENDING:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self.asked.is_set():
            self.urged.set()
        elif number is signal.SIGINT:
            self.exit_code = INTERRUPTED
        self.asked.set()
