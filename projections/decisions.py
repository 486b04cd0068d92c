"""What operators have decided on a model's parked streams, as a build acts on it (design 6).

A build that has parked the stream frees it at the decision's place in the log: the waiting events are folded there. A
build that begins later knows the decision beforehand: it holds the stream's events from that one on until the decision,
without trying them, so that its documents are those of the build on which the operator decided, whatever this release
makes of the event. When several decisions name one event, the last freed it. Up to where a build knew of decisions when
it began is kept in its checkpoint: what it then met without knowing, it has folded in its own place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from domain.event import RecordedEvent
from domain.parked_decisions import Decision, EventSkipped, StreamRetried, decided


@dataclass(frozen=True, slots=True)
class FreedEvent(RecordedEvent):
    """An event that waited, at the decision that frees it: its `position` is the decision's, `origin` was its own.

    `place` counts those that are freed together, from 0.
    """

    origin: int = 0
    place: int = 0


def freed_event(recorded: RecordedEvent, decision: RecordedEvent, place: int) -> FreedEvent:
    own = {field.name: getattr(recorded, field.name) for field in fields(RecordedEvent)}
    return FreedEvent(**{**own, "position": decision.position, "origin": recorded.position, "place": place})


def origin_of(recorded: RecordedEvent) -> int:
    """Its own position in the log."""
    return recorded.origin if isinstance(recorded, FreedEvent) else recorded.position


def decision_of(recorded: RecordedEvent) -> Decision | None:
    return recorded.event if isinstance(recorded.event, StreamRetried | EventSkipped) else None


class Decisions:
    """Those on one read model that a build knew of when it began."""

    def __init__(self, recorded: Sequence[RecordedEvent] = ()) -> None:
        self._by_stream: dict[str, list[tuple[int, int]]] = {}
        for (stream, event), decision in decided(recorded).items():
            self._by_stream.setdefault(stream, []).append((event, decision))

    def __bool__(self) -> bool:
        return bool(self._by_stream)

    def held_until(self, recorded: RecordedEvent) -> int | None:
        """The position of the decision at which an event is folded; None if that is its own place."""
        known = self._by_stream.get(recorded.stream_id.hex, ())
        position = recorded.position
        return max((decision for event, decision in known if event <= position < decision), default=None)


def freed_by(
    decision: RecordedEvent,
    parked: Mapping[str, int],
    decisions: Decisions,
    streams: Mapping[str, Sequence[RecordedEvent]],
) -> Sequence[FreedEvent] | None:
    """The events that a decision frees, in their order; None if nothing waits at the event that it names.

    `parked`: streams and the event at which each waits; `streams`: the events of the stream, as the log has them.
    """
    event = decision_of(decision)
    assert event is not None, "a decision"
    before = [one for one in streams[event.stream] if one.position < decision.position]
    if parked.get(event.stream) == event.position:
        waiting = [one for one in before if one.position >= event.position]
    else:
        waiting = [one for one in before if decisions.held_until(one) == decision.position]
        if not waiting:
            return None
    left = [one for one in waiting if not (isinstance(event, EventSkipped) and one.position == event.position)]
    return [freed_event(one, decision, place) for place, one in enumerate(left)]
