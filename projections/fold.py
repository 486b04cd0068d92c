"""Folds a batch of events into at most one write for each document. Pure: the store is read before, written after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from domain.event import RecordedEvent
from projections.parked import Poison, parked_document, parked_id
from projections.read_model import Document, ReadModel, UnknownEvent
from projections.view import Advance, Lease

Poisons = Mapping[str, Poison]  # by stream


@dataclass(frozen=True, slots=True)
class Batch:
    """Events for one build. `ids` are the documents that they may change, in the order of their first event."""

    model: ReadModel
    lease: Lease
    events: Sequence[RecordedEvent]
    poisons: Poisons
    ids: Sequence[str]

    @classmethod
    def of(cls, model: ReadModel, lease: Lease, events: Sequence[RecordedEvent], poisons: Poisons) -> "Batch":
        """`poisons` are those known in these events. Raises Poison for another one."""
        ids: dict[str, None] = {}
        for recorded in events:
            if _waits(lease, recorded, poisons):
                ids[parked_id(recorded.stream_id.hex)] = None
            else:
                ids.update(dict.fromkeys(_touched(model, recorded)))
        return cls(model, lease, events, poisons, list(ids))

    def fold(self, docs: dict[str, Document], stopped: str | None = None) -> Advance:
        """What follows from `docs`, those of `ids` that there are. They are changed. Raises Poison as `of` does."""
        before = set(docs)
        newly_parked: set[str] = set()
        for recorded in self.events:
            if _waits(self.lease, recorded, self.poisons):
                self._park(recorded, docs, newly_parked)
            else:
                _apply(self.model, recorded, docs)
        return Advance(
            lease=self.lease,
            position=self.events[-1].position if self.events else self.lease.position,
            inserted=[docs[id] for id in self.ids if id in docs and id not in before],
            replaced=[docs[id] for id in self.ids if id in docs and id in before],
            removed=[id for id in self.ids if id in before and id not in docs],
            newly_parked=frozenset(newly_parked),
            stopped=stopped,
        )

    def _park(self, recorded: RecordedEvent, docs: dict[str, Document], newly_parked: set[str]) -> None:
        """The poison event itself, or a later one of its stream."""
        stream = recorded.stream_id.hex
        poison = self.poisons.get(stream)
        if poison is not None and poison.recorded.position == recorded.position:
            newly_parked.add(stream)
            docs[parked_id(stream)] = parked_document(poison)
        else:
            docs[parked_id(stream)]["waiting"] += 1


def _waits(lease: Lease, recorded: RecordedEvent, poisons: Poisons) -> bool:
    """Whether its stream is parked, or is from this event on."""
    if not lease.parked and not poisons:
        return False
    stream = recorded.stream_id.hex
    poison = poisons.get(stream)
    return stream in lease.parked or (poison is not None and recorded.position >= poison.recorded.position)


def _touched(model: ReadModel, recorded: RecordedEvent) -> Sequence[str]:
    try:
        return list(model.touches(recorded))
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
