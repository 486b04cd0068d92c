"""Tasks that live and die together."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

DEAF_SECONDS = 1.0


async def until_first(*parts: Coroutine[Any, Any, object]) -> None:
    """Runs all at once. When the first one ends or fails, the others are cancelled and awaited.

    Raises what failed, as it is and not in a group, so that callers can name it.
    """
    await _run(parts, asyncio.FIRST_COMPLETED)


async def all_of(*parts: Coroutine[Any, Any, object]) -> None:
    """Runs all at once until the last one ends. When one fails, the others are cancelled and awaited.

    Raises what failed first, as it is and not in a group.
    """
    await _run(parts, asyncio.FIRST_EXCEPTION)


async def _run(parts: Iterable[Coroutine[Any, Any, object]], until: str) -> None:
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=until)
    finally:
        await cancel(tasks)
    for task in tasks:
        if task in ended:
            task.result()


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Returns when all have ended; what they raised is for the caller to ask, and if he does not, nobody complains.

    Asks again those that go on: before Python 3.12, `wait_for` forgets a cancellation that meets its result.
    """
    tasks = list(tasks)
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=DEAF_SECONDS)
    for task in tasks:
        if not task.cancelled():
            task.exception()
