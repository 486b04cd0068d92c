"""What a read model is: the shape that `status`, `applied`, `failed` and `totals` have in common.

A read model folds events into documents. It is pure (no clock, no I/O, no random), so that a rebuild gives the same
bytes. A change of what its documents hold is a new VERSION, which is built beside the old one (design 6).
"""

from collections.abc import Collection, MutableMapping, Sequence
from typing import Any, Protocol

from pymongo import IndexModel

from domain.event import Event, RecordedEvent

Document = dict[str, Any]
Documents = MutableMapping[str, Document]


class UnknownEvent(TypeError):
    """A read model has no arm for an event: the code is older than the log. Its role halts, and parks nothing."""

    def __init__(self, model: str, event: Event) -> None:
        super().__init__(f"The read model {model} does not know {event.NAME}")


class ReadModel(Protocol):
    """A module of this shape. Ids of documents never begin with `parked:` and are not `checkpoint`."""

    NAME: str
    VERSION: int
    INDEXES: Sequence[IndexModel]
    SPANS_STREAMS: bool  # a document takes events of many streams: a poison event stops the model, it parks no stream

    def touches(self, recorded: RecordedEvent) -> Collection[str]:
        """Ids of the documents that `apply` changes, so that a batch loads them with one query."""

    def is_new(self, id: str, recorded: RecordedEvent) -> bool:
        """Whether no earlier event can have made this document, which the event touches: then it is not looked for."""

    def apply(self, recorded: RecordedEvent, docs: Documents) -> None:
        """Folds one event into the documents. Raises UnknownEvent for an event without an arm."""
