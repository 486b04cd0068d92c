"""Builds beside the live ones: made from position 0 while those are read and kept current, to check or replace them.

They are projected as any other, by a projector of their own that knows only them: leases with fences, parked streams
and decisions, documents and checkpoint in one transaction. So whatever is killed, whoever takes such a build next
goes on from its checkpoint, and nothing is applied twice. Larger batches make it faster: a document that changes often
is written once a batch, and the next batch is read and decoded while this one is written. So does it to make indexes
last: nobody reads such a build before.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

from domain.errors import StoreError, StoreTimeout
from domain.event import RecordedEvent
from domain.ports import Append, EventLog
from infra.mongo import Mongo, mongo_errors
from projections.holdings import Active, Backoff
from projections.mongo_view import CALL_SECONDS, MongoView
from projections.projector import Projector
from projections.read_model import ReadModel
from projections.view import BuildName

T = TypeVar("T")

BATCH_MAX = 5_000
STORE_TRIES = 8  # in a row, about half a minute
LEASES_WAITED = 2.0  # how many times a lease's life somebody else's is waited for

INDEX_SECONDS = 3_600.0  # for all of one build

Told = Callable[[int], None]  # how far it is


class BuildInUse(Exception):
    """Another process makes this build at this moment."""


class BuildStopped(Exception):
    """The read model cannot take an event, and parks none: it needs a release that can."""


class BesideView(MongoView):
    """A view in which there are only these builds, none of them live."""

    def __init__(
        self, mongo: Mongo, models: Sequence[ReadModel], holder: str, lease_seconds: float, builds: Sequence[BuildName]
    ) -> None:
        super().__init__(mongo, models, holder, lease_seconds)
        self._builds = builds

    async def builds(self) -> Mapping[BuildName, bool]:
        return dict.fromkeys(self._builds, False)

    async def go_live(self, build: BuildName) -> None:
        """Nobody reads it before a switch."""

    async def finish(self, told: Told) -> None:
        """Makes the indexes, without which none of them may be read. `told`: how many builds have theirs.

        Interrupted, the database breaks off as well. Raises StoreErrors when it stays away, or takes too long.
        """
        for count, build in enumerate(self._builds, 1):
            try:
                async with asyncio.timeout(INDEX_SECONDS):  # for all tries
                    await _patiently(partial(self._finish, build))
            except TimeoutError:
                raise StoreTimeout("The database did not make the indexes in time") from None
            told(count)

    async def _finish(self, build: BuildName) -> None:
        """A majority is enough: by default they are made once each member has them, also one that is away."""
        try:
            with mongo_errors(INDEX_SECONDS):
                await self.make_indexes(build, commitQuorum="majority")
        except asyncio.CancelledError:
            with contextlib.suppress(StoreError), mongo_errors(CALL_SECONDS):
                await self._collection(build).drop_indexes()  # else a thread waits for the end of the work
            raise

    async def _prepare(self, build: BuildName) -> None:
        """`finish` does."""


@dataclass
class LogUntil:
    """A log that ends at a position."""

    log: EventLog
    position: int = 0

    async def append(self, append: Append) -> int:
        return await self.log.append(append)

    async def read_stream(self, stream_id: UUID) -> Sequence[RecordedEvent]:
        return await self.log.read_stream(stream_id)

    async def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        if after >= self.position:
            return ()
        return [one for one in await self.log.read(after, limit) if one.position <= self.position]

    async def head(self) -> int:
        return min(await self.log.head(), self.position)

    async def wait(self, after: int, timeout: float) -> None:
        await self.log.wait(after, timeout)

    async def position_at(self, at: datetime) -> int:
        return min(await self.log.position_at(at), self.position)


class Builder:
    """Brings builds beside the live ones to a position, and no further."""

    def __init__(
        self,
        log: EventLog,
        view: BesideView,
        models: Sequence[ReadModel],
        lease_seconds: float,
        batch_max: int = BATCH_MAX,
    ) -> None:
        self._log, self._view, self._lease_seconds = LogUntil(log), view, lease_seconds
        self._projector = Projector(self._log, view, models, batch_max, lease_seconds)

    async def reach(self, position: int, told: Told = lambda _: None) -> Sequence[Active]:
        """The builds, all at that position, or beyond it if they were before.

        Raises BuildInUse, BuildStopped, NewerEvent, and StoreErrors when a store stays away.
        """
        self._log.position = position
        loop = asyncio.get_running_loop()
        wait_until = loop.time() + LEASES_WAITED * self._lease_seconds
        while True:
            moved = await _patiently(self._turn)
            active = self._checked()
            missing = (await self._view.builds()).keys() - {one.lease.build for one in active}
            if not missing:
                told(min(one.lease.position for one in active))
                if all(one.lease.position >= position for one in active):
                    return active
            elif not moved and loop.time() > wait_until:
                raise BuildInUse(f"another process is making {', '.join(map(str, sorted(missing)))}")
            if not moved:
                await pause(self._lease_seconds / 10)

    async def _turn(self) -> bool:
        try:
            return await self._projector.turn()
        except StoreError:
            self._projector.forget()
            raise

    def forget(self) -> None:
        """Their collections were dropped: the next look makes them anew."""
        self._projector.forget()

    async def leave(self) -> None:
        await self._projector.leave()

    def _checked(self) -> Sequence[Active]:
        for one in self._projector.active:
            if one.stopped:
                raise BuildStopped(f"{one.lease.build} cannot go on after position {one.lease.position}: {one.stopped}")
        return self._projector.active


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Again and again while a store is away, STORE_TRIES times at most. Raises a StoreError then."""
    backoff = Backoff()
    for _ in range(STORE_TRIES):
        try:
            return await work()
        except StoreError:
            await pause(backoff.longer())
    return await work()


async def pause(seconds: float) -> None:
    """Does nothing for a while."""
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=seconds)
