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
    """Events for one build, each with the ids of the documents that it changes."""

    model: ReadModel
    lease: Lease
    steps: Sequence[tuple[RecordedEvent, Sequence[str]]]
    poisons: Poisons

    @classmethod
    def of(cls, model: ReadModel, lease: Lease, events: Sequence[RecordedEvent], poisons: Poisons) -> "Batch":
        """`poisons` are those known in these events. Raises Poison for another one."""
        return cls(model, lease, [(one, _touched(model, lease, one, poisons)) for one in events], poisons)

    @property
    def ids(self) -> Sequence[str]:
        """The documents that may change, each once, in the order of their first event."""
        return list(dict.fromkeys(id for _, ids in self.steps for id in ids))

    def fold(self, docs: dict[str, Document], stopped: str | None = None) -> Advance:
        """What follows from `docs`, those of `ids` that there are. They are changed. Raises Poison as `of` does."""
        before = set(docs)
        newly_parked = set()
        for recorded, _ in self.steps:
            stream = recorded.stream_id.hex
            poison = self.poisons.get(stream)
            if stream in self.lease.parked or stream in newly_parked:
                docs[parked_id(stream)]["waiting"] += 1
            elif poison and poison.recorded.position == recorded.position:
                newly_parked.add(stream)
                docs[parked_id(stream)] = parked_document(poison)
            else:
                _apply(self.model, recorded, docs)
        ids = self.ids
        return Advance(
            lease=self.lease,
            position=self.steps[-1][0].position if self.steps else self.lease.position,
            inserted=[docs[id] for id in ids if id in docs and id not in before],
            replaced=[docs[id] for id in ids if id in docs and id in before],
            removed=[id for id in ids if id in before and id not in docs],
            newly_parked=frozenset(newly_parked),
            stopped=stopped,
        )


def _touched(model: ReadModel, lease: Lease, recorded: RecordedEvent, poisons: Poisons) -> Sequence[str]:
    stream = recorded.stream_id.hex
    poison = poisons.get(stream)
    if stream in lease.parked or (poison and recorded.position >= poison.recorded.position):
        return [parked_id(stream)]
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
