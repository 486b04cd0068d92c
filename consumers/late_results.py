"""What a run has to say that was broken off: it gets into the log all the same (design 4, 7).

What a portal took just before is recorded, because truth wins. What was surely not sent is given back: else the next
start would have to take it for lost.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from consumers.backoff import Backoff
from consumers.together import cancel
from domain.errors import Overloaded, StoreError

logger = logging.getLogger(__name__)


class LateResults:
    """Appends that outlive the claim of their run. A kill forgets them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def record(self, append: Callable[[], Awaitable[object]]) -> None:
        """Tries until it is in the log."""
        task = asyncio.create_task(self._insist(append))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self, seconds: float) -> None:
        """Waits for what is under way, so long at most, and gives up the rest."""
        tasks = set(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        await cancel(tasks)

    async def _insist(self, append: Callable[[], Awaitable[object]]) -> None:
        backoff = Backoff()
        while True:
            try:
                await append()
            except (StoreError, Overloaded):
                await asyncio.sleep(backoff.seconds())
            except Exception:
                logger.exception("a late result is lost", extra={"event_type": "late_result_lost"})
                return
            else:
                return
