"""What a portal took just before its run was broken off: it is recorded all the same, because truth wins (design 4)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from consumers.backoff import Backoff
from consumers.together import cancel
from domain.errors import Overloaded, StoreError

logger = logging.getLogger(__name__)


class LateResults:
    """Appends of `applied` that outlive the claim under which the job was sent. A kill forgets them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def record(self, settle: Callable[[], Awaitable[object]]) -> None:
        """Tries until it is in the log."""
        task = asyncio.create_task(self._insist(settle))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self, seconds: float) -> None:
        """Waits for what is under way, so long at most, and gives up the rest."""
        tasks = set(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        await cancel(tasks)

    async def _insist(self, settle: Callable[[], Awaitable[object]]) -> None:
        backoff = Backoff()
        while True:
            try:
                await settle()
            except (StoreError, Overloaded):
                await asyncio.sleep(backoff.seconds())
            except Exception:
                logger.exception("a late result is lost", extra={"event_type": "late_result_lost"})
                return
            else:
                return
