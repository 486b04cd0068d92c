"""The event log and its claims in memory: `domain.ports.EventLog` and `Claims` without a store.

Set `trouble` and every call raises it until it is None again.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from domain.errors import ClaimedElsewhere, Conflict, StoreError
from domain.event import RecordedEvent
from domain.ports import Append, Claim


class FakeClaims:
    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now` in seconds."""
        self._now = now
        self._holders: dict[str, tuple[str, float]] = {}  # name to holder, and when it runs out

    def take_now(self, claim: Claim) -> bool:
        holder, until = self._holders.get(claim.name, (claim.holder, 0.0))
        free = holder == claim.holder or until < self._now()
        if free:
            self._holders[claim.name] = claim.holder, self._now() + claim.seconds
        return free

    def release_now(self, claim: Claim) -> None:
        if self._holders.get(claim.name, ("", 0.0))[0] == claim.holder:
            del self._holders[claim.name]

    async def take(self, claim: Claim) -> bool:
        return self.take_now(claim)

    async def renew(self, holder: str, names: Sequence[str], seconds: float) -> set[str]:
        ours = {name for name in names if self._holders.get(name, ("", 0.0))[0] == holder}
        for name in ours:
            self._holders[name] = holder, self._now() + seconds
        return ours

    async def release(self, claim: Claim) -> None:
        self.release_now(claim)

    async def held(self, names: Sequence[str]) -> set[str]:
        return {name for name in names if name in self._holders and self._holders[name][1] >= self._now()}


class FakeEventLog:
    def __init__(self, claims: FakeClaims | None = None) -> None:
        self.claims = claims or FakeClaims()
        self.trouble: StoreError | None = None
        self._events: list[RecordedEvent] = []  # the one at index n has the position n + 1
        self._streams: dict[UUID, list[RecordedEvent]] = {}
        self._moved = asyncio.Event()

    async def append(self, append: Append) -> int:
        self._raise_trouble()
        if not append.events:
            raise ValueError("nothing to append")
        places = [(event.stream_id, event.version) for event in append.events]
        taken = {(id, one.version) for id in {id for id, _ in places} for one in self._streams.get(id, ())}
        if len(set(places)) < len(places) or taken & set(places):
            raise Conflict("Another append came first")
        if append.take is not None and not self.claims.take_now(append.take):
            raise ClaimedElsewhere("Another holds the claim")
        for event in append.events:
            self._add(event)
        if append.release is not None:
            self.claims.release_now(append.release)
        self._moved.set()
        self._moved = asyncio.Event()
        return len(self._events)

    async def read_stream(self, stream_id: UUID) -> Sequence[RecordedEvent]:
        self._raise_trouble()
        return sorted(self._streams.get(stream_id, ()), key=lambda event: event.version)

    async def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        self._raise_trouble()
        return self._events[after : after + limit]

    async def position_at(self, at: datetime) -> int:
        self._raise_trouble()
        return max((event.position for event in self._events if event.metadata.at <= at), default=0)

    async def head(self) -> int:
        self._raise_trouble()
        return len(self._events)

    async def wait(self, after: int, timeout: float) -> None:
        deadline = asyncio.get_running_loop().time() + timeout
        while len(self._events) <= after and (left := deadline - asyncio.get_running_loop().time()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), left)

    def _add(self, event: RecordedEvent) -> None:
        recorded = replace(event, position=len(self._events) + 1)
        self._events.append(recorded)
        self._streams.setdefault(event.stream_id, []).append(recorded)

    def _raise_trouble(self) -> None:
        if self.trouble is not None:
            raise self.trouble
