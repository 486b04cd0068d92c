"""How far the log has got, without asking it each time: readers sleep until there is something to read.

A thread of its own waits for the database's hint (a changed `data_version`, a NOTIFY) and reads the head. A hint that
is lost costs half a second: then it looks anyway. While the store is away it goes on trying.
"""

import asyncio
import contextlib
import logging
import threading
from typing import Protocol

from domain.errors import StoreError
from infra.log_database import HeadWatcher, LogAdapter

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
RETRY_SECONDS = 1.0


class Head(Protocol):
    """Tells readers that there may be something to read."""

    async def wait(self, after: int, timeout: float) -> None:
        """Returns once the head is beyond `after`, after `timeout` seconds at the latest."""


class HeadPosition:
    """The newest head seen. Used as an async context manager; the thread starts with the first waiter."""

    def __init__(self, adapter: LogAdapter) -> None:
        self._adapter = adapter
        self._position = 0
        self._moved: asyncio.Future[None] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    async def __aenter__(self) -> "HeadPosition":
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    async def wait(self, after: int, timeout: float) -> None:
        """Returns once the head is beyond `after`, after `timeout` seconds at the latest."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="event-log-head", daemon=True)
            self._thread.start()
        deadline = self._loop.time() + timeout
        while self._position <= after and (left := deadline - self._loop.time()) > 0:
            if self._moved is None:
                self._moved = self._loop.create_future()
            await asyncio.wait([self._moved], timeout=left)

    def _advance(self, position: int) -> None:
        self._position = position
        if self._moved is not None:
            self._moved.set_result(None)
            self._moved = None

    # -- in the watching thread ---------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                with contextlib.closing(self._adapter.watch()) as watcher:
                    self._follow(watcher)
            except StoreError:
                logger.warning("event log is away", extra={"event_type": "event_store_away"})
                self._stop.wait(RETRY_SECONDS)

    def _follow(self, watcher: HeadWatcher) -> None:
        seen = -1
        while not self._stop.is_set():
            position = watcher.wait(POLL_SECONDS)
            if position != seen:
                seen = position
                with contextlib.suppress(RuntimeError):  # the loop has closed
                    self._loop.call_soon_threadsafe(self._advance, position)
