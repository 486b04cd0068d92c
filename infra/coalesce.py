"""Reads that wait at the same moment share one query.

A read joins only a query that has not begun, so it never sees less than one of its own would have seen.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from infra import tracing
from infra.tracing import Kind, Span

K = TypeVar("K")
V = TypeVar("V")

Fetch = Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]


class Coalescer(Generic[K, V]):
    """Gathers `get`s into `fetch`es of at most `most` keys, at most `at_once` of them under way.

    A trace shows each `get` under `name`, and the fetch that it shared.
    """

    def __init__(self, fetch: Fetch[K, V], *, most: int = 200, at_once: int = 2, name: str = "read") -> None:
        self._fetch, self._name = fetch, name
        self._most = most
        self._free = at_once
        self._waiting: dict[K, list[asyncio.Future[V | None]]] = {}
        self._spans: dict[K, list[Span]] = {}  # of those who ask, where they are traced
        self._running: set[asyncio.Task[None]] = set()

    async def get(self, key: K) -> V | None:
        """The value, or None for a key that the fetch did not find. Raises what the fetch raises."""
        with tracing.span(self._name, kind=Kind.CLIENT) as span:
            if span.recording:
                self._spans.setdefault(key, []).append(span)
            return await self._get(key)

    async def _get(self, key: K) -> V | None:
        future: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()  # his own: he may go
        futures = self._waiting.get(key)
        if futures is not None:
            futures.append(future)
            return await future
        self._waiting[key] = [future]
        if self._free:
            self._free -= 1
            task = asyncio.create_task(self._fetch_all())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await future

    async def _fetch_all(self) -> None:
        try:
            while self._waiting:
                keys = list(self._waiting)[: self._most]
                asking = [span for key in keys for span in self._spans.pop(key, ())]
                with tracing.shared(f"shared {self._name}", asking):
                    await self._answer({key: self._waiting.pop(key) for key in keys})
        finally:
            self._free += 1

    async def _answer(self, waiting: Mapping[K, Sequence[asyncio.Future[V | None]]]) -> None:
        try:
            values = await self._fetch(list(waiting))
        except BaseException as error:
            for _, future in _unanswered(waiting):
                future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
                future.exception()  # a caller may go just now: then nobody else looks at it
            if not isinstance(error, Exception):
                raise
        else:
            for key, future in _unanswered(waiting):
                future.set_result(values.get(key))


def _unanswered(waiting: Mapping[K, Sequence[asyncio.Future[V]]]) -> Iterator[tuple[K, asyncio.Future[V]]]:
    """Without those whose callers have gone."""
    return ((key, future) for key, futures in waiting.items() for future in futures if not future.done())
