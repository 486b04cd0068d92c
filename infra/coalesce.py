"""Reads that wait at the same moment share one query.

A read joins only a query that has not begun, so it never sees less than one of its own would have seen.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

Fetch = Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]


class Coalescer(Generic[K, V]):
    """Gathers `get`s into `fetch`es of at most `most` keys, at most `at_once` of them under way."""

    def __init__(self, fetch: Fetch[K, V], *, most: int = 200, at_once: int = 2) -> None:
        self._fetch = fetch
        self._most = most
        self._free = at_once
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def get(self, key: K) -> V | None:
        """The value, or None for a key that the fetch did not find. Raises what the fetch raises."""
        future = self._waiting.get(key)
        if future is None:
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
            if self._free:
                self._free -= 1
                task = asyncio.create_task(self._fetch_all())
                self._running.add(task)
                task.add_done_callback(self._running.discard)
        return await asyncio.shield(future)

    async def _fetch_all(self) -> None:
        try:
            while self._waiting:
                keys = list(self._waiting)[: self._most]
                await self._answer({key: self._waiting.pop(key) for key in keys})
        finally:
            self._free += 1

    async def _answer(self, futures: Mapping[K, asyncio.Future[V | None]]) -> None:
        try:
            values = await self._fetch(list(futures))
        except BaseException as error:
            for future in futures.values():
                future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
                future.exception()  # a caller may have gone: then nobody else looks at it
            if not isinstance(error, Exception):
                raise
        else:
            for key, future in futures.items():
                future.set_result(values.get(key))
