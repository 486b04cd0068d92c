"""What the read models showed at a position, folded from the log alone (contract http.md 1.6a).

Pure, and by the read models' own folds, so that it equals what was answered then.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from domain.event import RecordedEvent
from projections import applied, failed, status
from projections.read_model import Document, ReadModel

LISTS: Mapping[str, ReadModel] = {applied.NAME: applied, failed.NAME: failed}


def up_to(recorded: Sequence[RecordedEvent], position: int) -> Sequence[RecordedEvent]:
    """What of a stream was in the log then."""
    return [one for one in recorded if one.position <= position]


def fold_status(recorded: Sequence[RecordedEvent]) -> Mapping[str, Any] | None:
    """The `status` document of an application from its stream; None for an empty stream or one of another kind."""
    return _folded(status, recorded).get(recorded[0].stream_id.hex) if recorded else None


def fold_entries(kind: str, recorded: Sequence[RecordedEvent]) -> Sequence[Mapping[str, Any]]:
    """The entries of an application in the list of that name from its stream, in the order of its jobs."""
    entries = _folded(LISTS[kind], recorded).values()
    return sorted(entries, key=lambda entry: entry["order"], reverse=True)


def _folded(model: ReadModel, recorded: Sequence[RecordedEvent]) -> Mapping[str, Document]:
    docs: dict[str, Document] = {}
    for one in recorded:
        model.apply(one, docs)
    return docs
