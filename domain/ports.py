"""What the rules need from outside: the event log, claims, a clock, ids.

Append: events are in the log, durably. Commit: a store made them durable. Publish: the broker has confirmed a message.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.event import RecordedEvent


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease on a name: only `holder` may work on it until `seconds` after it was taken or renewed."""

    name: str
    holder: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Append:
    """Events that go into the log together, or not at all; their streams may differ.

    `take` is a claim taken in the same commit; `release` one given back in it, if it is still held.
    """

    events: Sequence[RecordedEvent]
    take: Claim | None = None
    release: Claim | None = None


class EventLog(Protocol):
    """The only source of truth: streams of events in one total order, the position.

    All methods raise StoreUnavailable, StoreTimeout or StoreFailed when the store cannot be reached, does not answer,
    or refuses; reading raises NewerEvent for what a newer release wrote.
    """

    async def append(self, append: Append) -> int:
        """The position of its last event, once the commit is durable.

        Raises Conflict when a stream already has one of the versions, ClaimedElsewhere when `take` is held by another;
        then nothing was stored. Raises OutcomeUnknown when it may have been, Overloaded when too much waits.
        Cancelling the caller does not cancel an append that is under way.
        """

    async def read_stream(self, stream_id: UUID) -> Sequence[RecordedEvent]:
        """All events of a stream, with their positions; none for an unknown stream."""

    async def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        """The next events in the log's order, without gaps: none that commits later gets a lower position.

        At most `limit`; fewer when they are large, but one at least if there is one.
        """

    async def position_at(self, at: datetime) -> int:
        """The position of the last event that had occurred by then, 0 if there is none."""

    async def head(self) -> int:
        """The position of the newest event, 0 for an empty log."""

    async def wait(self, after: int, timeout: float) -> None:
        """Returns when there may be events beyond `after`, after `timeout` seconds at the latest.

        Raises nothing for a store that is away: the read that follows tells.
        """


class Claims(Protocol):
    """Leases beside the log: who works on what. They are taken in an append, or here."""

    async def take(self, claim: Claim) -> bool:
        """Whether it is ours now: it was free, had run out, or was ours already."""

    async def renew(self, holder: str, names: Sequence[str], seconds: float) -> set[str]:
        """Of these, the names that are still the holder's, each renewed for `seconds`, also if it ran out untaken."""

    async def release(self, claim: Claim) -> None:
        """Frees it if it is still the holder's."""

    async def held(self, names: Sequence[str]) -> set[str]:
        """Of these, the names that somebody holds now."""


class Clock(Protocol):
    """Time and identity, so that the rules stay pure."""

    def now(self) -> datetime:
        """UTC, in whole milliseconds."""

    def new_id(self, at: datetime) -> UUID:
        """A new UUIDv7 of that time (RFC 9562)."""
