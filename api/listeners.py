"""Who listens to the updates in this process: by user, each with a bounded buffer (contract http.md 12, 13).

One feed tells all of them, and waits for none. An update is written as JSON once, whoever gets it. A listener is given
what is stored up to where the feed stands, and what the feed tells from there. When more comes than is kept for him (a
burst, a slow line), the rest is forgotten, and he is given it from the store in his own time. So what he costs is
bounded, however slow he is; one who takes nothing at all for a while is ended by who writes to him.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Self

import orjson

from api.errors import TooManyStreams
from domain.errors import ReadModelBehind, StoreError
from infra import metrics
from projections.queries import History, Queries, Update, UpdateFeed, UpdateId

KEPT, KEPT_BYTES = 256, 128 * 1024  # updates for a listener, about
TOLD_AT_ONCE = 64  # then others get their turn: who is quick takes them before more is kept for him
AGAIN_SECONDS = 1.0  # until the store is asked again that could not be read
BEGINNING_SECONDS = 6.0  # a database that is away is known to be after five
NOTHING = UpdateId(0)


class Ending(Enum):
    """Why a stream is over: the close code of a WebSocket, and what its user is told."""

    EXPIRED = (4001, "The token has expired")
    SHUTDOWN = (1001, "The server shuts down")
    TOO_SLOW = (1011, "Too slow to take its messages")
    FAILED = (1011, "The server has failed")
    GONE = (1000, "")

    def __init__(self, code: int, reason: str) -> None:
        self.code, self.reason = code, reason


@dataclass(frozen=True, slots=True)
class Told:
    """An update as it is sent: the WebSocket's text, and the event with that text as its data."""

    id: UpdateId
    application_id: str | None
    text: bytes
    event: bytes

    @classmethod
    def of(cls, update: Update) -> Self:
        text = orjson.dumps(update.message, option=orjson.OPT_UTC_Z)
        event = b"id: %b\nevent: %b\ndata: %b\n\n" % (str(update.id).encode(), update.message["type"].encode(), text)
        return cls(update.id, update.application_id, text, event)


@dataclass(slots=True, eq=False)
class Listener:
    """One stream. `after`: the last update that it was sent; `application_ids`: only theirs, if there are some."""

    user_id: str
    feed: UpdateFeed
    history: History
    after: UpdateId = NOTHING
    application_ids: Collection[str] = ()
    over: asyncio.Future[Ending] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _kept: deque[Told] = field(default_factory=deque)
    _bytes: int = 0  # of them
    _something: asyncio.Event = field(default_factory=asyncio.Event)
    _hears: bool = False
    _missed: bool = False  # what comes after the kept ones is in the store only

    def end(self, ending: Ending) -> None:
        """The first reason counts."""
        if not self.over.done():
            self.over.set_result(ending)

    def hear(self, told: Told) -> None:
        if not self._hears or self._missed or told.id <= self.after:
            return
        if self.application_ids and told.application_id not in self.application_ids:
            return
        if len(self._kept) < KEPT and self._bytes < KEPT_BYTES:
            self._kept.append(told)
            self._bytes += len(told.event)
            self._something.set()
        else:
            self._missed = True

    async def updates(self, silence: float) -> AsyncGenerator[Sequence[Told], None]:
        """All after `after`, in order, each once; nothing at all whenever so many seconds were silent."""
        while True:
            while (upto := self._hear_from_here()) is None:
                if not await self.feed.found(silence):
                    yield ()
            try:
                stored = self.history.pages(self.user_id, self.after, upto, self.application_ids)
                async with contextlib.aclosing(stored) as pages:
                    async for page in pages:
                        self.after = page[-1].id
                        yield [Told.of(update) for update in page]
            except (StoreError, ReadModelBehind):
                yield ()
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            self.after = max(self.after, upto)
            while self._kept or not self._missed:
                yield await self._take(silence)

    def _hear_from_here(self) -> UpdateId | None:
        """Where the feed stands: what comes later is kept from now on. None while it has not found its place."""
        self._kept.clear()
        self._bytes, self._missed = 0, False
        self._hears = self.feed.told is not None
        return self.feed.told

    async def _take(self, seconds: float) -> Sequence[Told]:
        if not self._kept:
            self._something.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._something.wait()
        taken = list(self._kept)
        self._kept.clear()
        self._bytes = 0
        if taken:
            self.after = taken[-1].id
        return taken


class Audience:
    """All listeners of this process, and the feed that tells them. `most`: streams of one user at a time."""

    def __init__(self, queries: Queries, most: int) -> None:
        self._feed, self._history = queries.update_feed(self._tell), queries.history
        self._most = most
        self._by_user: dict[str, set[Listener]] = {}
        self._told = 0
        self._closed = False
        metrics.WEBSOCKET_CONNECTIONS.inc(0)

    @contextlib.contextmanager
    def listener(self, user_id: str) -> Iterator[Listener]:
        """A stream of that user, which counts as long as it lasts. Raises TooManyStreams."""
        his = self._by_user.setdefault(user_id, set())
        if len(his) >= self._most:
            raise TooManyStreams(f"There are {self._most} streams of this user already")
        listener = Listener(user_id, self._feed, self._history)
        if self._closed:
            listener.end(Ending.SHUTDOWN)
        his.add(listener)
        self._feed.join()
        try:
            yield listener
        finally:
            self._feed.leave()
            his.discard(listener)
            if not his:
                self._by_user.pop(user_id, None)

    async def beginning(self) -> UpdateId:
        """From where a new stream goes on. Raises ReadModelBehind and StoreErrors."""
        return await self._feed.beginning(BEGINNING_SECONDS)

    def say_goodbye(self) -> None:
        """Ends every stream, and each that comes."""
        self._closed = True
        for listener in [one for his in self._by_user.values() for one in his]:
            listener.end(Ending.SHUTDOWN)

    async def close(self) -> None:
        self.say_goodbye()
        await self._feed.close()

    async def _tell(self, update: Update) -> None:
        his = self._by_user.get(update.user_id)
        if not his:
            return
        told = Told.of(update)
        for listener in his:
            listener.hear(told)
        self._told += 1
        if self._told % TOLD_AT_ONCE == 0:
            await asyncio.sleep(0)
