"""Folds a batch of events into at most one write for each document. Pure: the store is read before, written after."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from domain.event import Event, RecordedEvent
from projections.decisions import Decisions, FreedEvent, decision_of, freed_by, origin_of
from projections.parked import Poison, parked_document, parked_id
from projections.read_model import Document, ReadModel, UnknownEvent
from projections.view import Advance, Lease

Place = tuple[str, int, int]  # of an event in a batch: its stream, its position, and which of those freed there
Poisons = Mapping[Place, Poison]
NO_DECISIONS = Decisions()


class Step(Enum):
    """What is done with an event."""

    APPLY = "apply"
    PARK = "park"  # its stream waits from here on
    WAIT = "wait"  # its stream does
    FREE = "free"  # a decision: its stream goes on


@dataclass(frozen=True, slots=True)
class Known:
    """What a build knows besides the events: decisions, and the events of the streams that those in a batch are on."""

    decisions: Decisions = NO_DECISIONS
    streams: Mapping[str, Sequence[RecordedEvent]] | None = None  # None: no event of the batch is a decision on it


NOTHING = Known()


def place_of(recorded: RecordedEvent) -> Place:
    place = recorded.place if isinstance(recorded, FreedEvent) else -1
    return recorded.stream_id.hex, recorded.position, place


@dataclass(frozen=True, slots=True)
class Batch:
    """Events for one build. `ids` are the documents that they may change, in the order of their first event.

    `known_before`: those of them that may be there already.

    `steps`: what is done with them. Of those that change no document one of each kind is left, in case it is unknown.
    """

    model: ReadModel
    lease: Lease
    events: Sequence[RecordedEvent]
    steps: Sequence[tuple[Step, RecordedEvent]]
    poisons: Poisons
    ids: Sequence[str]
    known_before: Sequence[str]
    freed: Sequence[FreedEvent]  # by decisions of the batch

    @classmethod
    def of(
        cls,
        model: ReadModel,
        lease: Lease,
        events: Sequence[RecordedEvent],
        poisons: Poisons,
        known: Known = NOTHING,
    ) -> "Batch":
        """`poisons` are those known in these events. Raises Poison for another one."""
        if lease.parked or poisons or known.decisions or known.streams is not None:
            steps = _steps(model, lease, events, poisons, known)
        else:
            steps = ((Step.APPLY, recorded) for recorded in events)
        ids: dict[str, bool] = {}  # and whether it is new
        applied: set[type[Event]] = set()  # kinds of events, which a read model knows or does not
        done: list[tuple[Step, RecordedEvent]] = []
        freed: list[FreedEvent] = []
        for step, recorded in steps:
            if isinstance(recorded, FreedEvent):
                freed.append(recorded)
            if step is not Step.APPLY:
                ids.setdefault(parked_id(_stream_of(step, recorded)), False)
            elif touched := _touched(model, recorded):
                for id in touched:
                    if id not in ids:
                        ids[id] = model.is_new(id, recorded)
            elif type(recorded.event) in applied:
                continue
            else:
                applied.add(type(recorded.event))
            done.append((step, recorded))
        known_before = [id for id, is_new in ids.items() if not is_new]
        return cls(model, lease, events, done, poisons, list(ids), known_before, freed)

    def fold(self, docs: dict[str, Document], stopped: str | None = None) -> Advance:
        """What follows from `docs`, those of `known_before` that there are: they change. Raises Poison as `of` does."""
        before = set(docs)
        parked = dict(self.lease.parked)
        for step, recorded in self.steps:
            match step:
                case Step.APPLY:
                    _apply(self.model, recorded, docs)
                case Step.PARK:
                    stream = recorded.stream_id.hex
                    parked[stream] = origin_of(recorded)
                    docs[parked_id(stream)] = parked_document(self.poisons[place_of(recorded)])
                case Step.WAIT:
                    docs[parked_id(recorded.stream_id.hex)]["waiting"] += 1
                case Step.FREE:
                    stream = _stream_of(step, recorded)
                    parked.pop(stream, None)
                    docs.pop(parked_id(stream), None)
        return Advance(
            lease=self.lease,
            position=self.events[-1].position if self.events else self.lease.position,
            inserted=[docs[id] for id in self.ids if id in docs and id not in before],
            replaced=[docs[id] for id in self.ids if id in docs and id in before],
            removed=[id for id in self.ids if id in before and id not in docs],
            parked=parked,
            stopped=stopped,
        )


def _steps(
    model: ReadModel, lease: Lease, events: Sequence[RecordedEvent], poisons: Poisons, known: Known
) -> Iterator[tuple[Step, RecordedEvent]]:
    parked = dict(lease.parked)

    def step(recorded: RecordedEvent) -> Step:
        stream = recorded.stream_id.hex
        if stream in parked:
            return Step.WAIT
        if place_of(recorded) in poisons:
            parked[stream] = origin_of(recorded)
            return Step.PARK
        return Step.APPLY

    for recorded in events:
        if recorded.stream_id.hex in parked or known.decisions.held_until(recorded) is None:
            yield step(recorded), recorded
        decision = decision_of(recorded)
        if decision is None or decision.read_model != model.NAME or known.streams is None:
            continue
        freed = freed_by(recorded, parked, known.decisions, known.streams)
        if freed is not None:
            parked.pop(decision.stream, None)
            yield Step.FREE, recorded
            yield from ((step(one), one) for one in freed)


def _stream_of(step: Step, recorded: RecordedEvent) -> str:
    """Of the stream that the step is about."""
    decision = decision_of(recorded) if step is Step.FREE else None
    return recorded.stream_id.hex if decision is None else decision.stream


def _touched(model: ReadModel, recorded: RecordedEvent) -> Collection[str]:
    try:
        return model.touches(recorded)
    except (UnknownEvent, MemoryError):
        raise
    except Exception as error:
        raise Poison(recorded, error) from error


def _apply(model: ReadModel, recorded: RecordedEvent, docs: dict[str, Document]) -> None:
    try:
        model.apply(recorded, docs)
    except (UnknownEvent, MemoryError):
        raise
    except Exception as error:
        raise Poison(recorded, error) from error
