"""The requests that are being answered, so that a process that ends lets them finish."""

import asyncio
from types import TracebackType

from aiohttp import web


class Running:
    """Entered by each request."""

    def __init__(self) -> None:
        self._count = 0
        self._none_left = asyncio.Event()
        self._none_left.set()

    def __enter__(self) -> None:
        self._count += 1
        self._none_left.clear()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._count -= 1
        if not self._count:
            self._none_left.set()

    async def ended(self, seconds: float) -> None:
        """Waits until none is left, for that long at most."""
        try:
            await asyncio.wait_for(self._none_left.wait(), seconds)
        except TimeoutError:
            return


RUNNING = web.AppKey("RUNNING", Running)
