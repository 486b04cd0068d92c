"""Ctrl-C, SIGTERM and a closed terminal, as events: the first asks for an orderly end, another for one at once."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from api.cli.ending import DONE, INTERRUPTED

_ONE_REQUEST_SECONDS = 0.5  # `timeout` and some shells send a signal twice, to the process and to its group
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """What has been asked for so far."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.urged = asyncio.Event()
        self.exit_code = DONE
        self._asked_at = 0.0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Signals come here instead of ending the process. Only in the main thread."""
        loop = asyncio.get_running_loop()
        heard = [number for number in _ENDING if not _is_for_nohup(number)]
        for number in heard:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in heard:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        now = asyncio.get_running_loop().time()
        if not self.asked.is_set():
            self._asked_at = now
            self.exit_code = INTERRUPTED if number is signal.SIGINT else DONE
            self.asked.set()
        elif now - self._asked_at > _ONE_REQUEST_SECONDS:
            self.urged.set()


def _is_for_nohup(number: signal.Signals) -> bool:
    """A closed terminal that `nohup` lets us survive."""
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN
