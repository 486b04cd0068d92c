"""What every command does at its end: its events into the log, and the idempotency key that guards them with them.

A request with a key is appended together with the use of that key, which holds the answer (contract http.md 1.5). So of
many at the same moment one gets both into the log, and all others neither: no kill leaves one without the other.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

from domain.errors import Conflict, DuplicateRequest
from domain.event import Cause, Event, Metadata, Owner, RecordedEvent
from domain.idempotency import IdempotencyKey
from domain.ports import Append, Claim, Clock, EventLog

R = TypeVar("R")


def recorded_events(
    stream_id: UUID,
    version: int,
    events: Iterable[Event],
    at: datetime,
    cause: Cause,
    owner: Owner | None,
    clock: Clock,
) -> Sequence[RecordedEvent]:
    """The events that follow `version` of a stream, with their metadata: the one place where it is filled in."""
    return [
        RecordedEvent(stream_id, number, event, Metadata(clock.new_id(at), at, cause, owner))
        for number, event in enumerate(events, version + 1)
    ]


@dataclass(frozen=True, slots=True)
class Guard(Generic[R]):
    """The first use of a key: `answer` gives the body that is told for the command's result, and kept with it."""

    key: IdempotencyKey
    content_hash: str
    answer: Callable[[R], str]
    status: int = 200

    def use(self, result: R, at: datetime, cause: Cause, clock: Clock) -> Sequence[RecordedEvent]:
        events = self.key.use(self.content_hash, self.status, self.answer(result))
        return recorded_events(self.key.id, self.key.version, events, at, cause, None, clock)


@dataclass(frozen=True, slots=True)
class Appender:
    """Appends what a command decided; shared by the commands of every aggregate."""

    log: EventLog
    clock: Clock

    async def append(
        self,
        events: Sequence[RecordedEvent],
        result: R,
        guard: Guard[R] | None,
        take: Claim | None = None,
        release: Claim | None = None,
    ) -> int:
        """The position of the last event: the key's, if there is one.

        Raises DuplicateRequest when the key has been used meanwhile, Conflict when only another stream has moved, and
        what `EventLog.append` raises. Nothing was stored then.
        """
        if guard is None:
            return await self.log.append(Append(events, take, release))
        metadata = events[-1].metadata
        used = guard.use(result, metadata.at, metadata.cause, self.clock)
        try:
            return await self.log.append(Append([*events, *used], take, release))
        except Conflict:
            if len(await self.log.read_stream(guard.key.id)) > guard.key.version:
                raise DuplicateRequest from None
            raise

    async def use_alone(self, result: R, guard: Guard[R], cause: Cause) -> int:
        """For a call that is no single append: its key, once the call has ended. Raises DuplicateRequest."""
        try:
            return await self.log.append(Append(guard.use(result, self.clock.now(), cause, self.clock)))
        except Conflict:
            raise DuplicateRequest from None
