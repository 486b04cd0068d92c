"""Operators' decisions on parked streams, one stream of them for each read model (design 4, 6).

A poison event parks its stream in a read model: its later events wait. An operator has them tried again, once a release
can take the event, or goes past the event. The read model acts on a decision at the decision's place in the log, and so
does every rebuild: what waited is shown from there on.

A second decision on the same event is only made when the first has been acted on and did not help. So of several, the
last is the one that freed the stream, which is what a rebuild goes by.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from domain.appending import recorded_events
from domain.errors import Conflict, Overloaded
from domain.event import Cause, Event, RecordedEvent
from domain.ports import Append, Clock, EventLog

READ_MODELS = UUID("2b0f0a86-8f3e-5c0d-9d53-0e4d6f1f7a52")
CONFLICT_TRIES = 10


class StreamRetried(Event, name="read_model.stream_retried"):
    read_model: str
    stream: str  # 32 hexadecimal digits
    position: int  # of the event at which it waits


class EventSkipped(Event, name="read_model.event_skipped"):
    read_model: str
    stream: str
    position: int  # of the event that is left out
    reason: str


Decision = StreamRetried | EventSkipped


def decisions_stream(read_model: str) -> UUID:
    return uuid5(READ_MODELS, read_model)


def decided(recorded: Sequence[RecordedEvent]) -> dict[tuple[str, int], int]:
    """The position of the last decision on each stream and event, from a read model's decisions."""
    return {
        (one.event.stream, one.event.position): one.position
        for one in recorded
        if isinstance(one.event, StreamRetried | EventSkipped)
    }


def skipped(recorded: Sequence[RecordedEvent]) -> set[int]:
    """The positions of the events that were left out, from a read model's decisions."""
    return {one.event.position for one in recorded if isinstance(one.event, EventSkipped)}


@dataclass(frozen=True, slots=True)
class DecisionCommands:
    """Records decisions. Raises what `EventLog` does, and Overloaded when too many decide at once."""

    log: EventLog
    clock: Clock

    async def record(
        self, read_model: str, decide: Callable[[dict[tuple[str, int], int]], Sequence[Decision]], cause: Cause
    ) -> Sequence[Decision]:
        """In one append: what `decide` gives, from the decisions until then."""
        stream = decisions_stream(read_model)
        for _ in range(CONFLICT_TRIES):
            before = await self.log.read_stream(stream)
            decisions = decide(decided(before))
            if not decisions:
                return decisions
            at = self.clock.now()
            try:
                recorded = recorded_events(stream, len(before), decisions, at, cause, None, self.clock)
                await self.log.append(Append(recorded))
            except Conflict:
                continue
            return decisions
        raise Overloaded("Too many decide on parked streams at once")
