"""The `batches` read model: one document a batch, with the status of each of its items (contract http.md 7.2).

It is made by BatchSubmitted, which stands after the submissions of its items in their append: so a reader never sees
half a batch. `started` tells that an item has been started once, even if a retry made it pending again. A result that
comes late changes the counts of a completed batch, and not when it was completed.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel

from domain.application_events import (
    ApplicationCancelled,
    ApplicationFailed,
    ApplicationSubmitted,
    ApplicationSucceeded,
    DocumentsWritten,
    JobApplied,
    JobAttempted,
    JobFailed,
    ProcessingStarted,
    Requeued,
    RetryRequested,
    RetryScheduled,
    Status,
)
from domain.batch import BatchCancelled, BatchSubmitted
from domain.event import RecordedEvent
from domain.idempotency import KeyUsed
from domain.rejected_message import MessageRejected
from projections.read_model import Document, Documents, UnknownEvent

NAME, VERSION, SPANS_STREAMS = "batches", 1, True

INDEXES: Sequence[IndexModel] = [
    IndexModel(
        [("user_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)],
        name="user",
        partialFilterExpression={"user_id": {"$exists": True}},
    )
]

STEPS = ProcessingStarted | ApplicationSucceeded | ApplicationFailed | ApplicationCancelled | RetryRequested
OPEN = frozenset({Status.PENDING.value, Status.PROCESSING.value})


def touches(recorded: RecordedEvent) -> Iterable[str]:
    if isinstance(recorded.event, BatchSubmitted):
        return (recorded.stream_id.hex,)
    if isinstance(recorded.event, STEPS) and recorded.owner.batch_id is not None:
        return (recorded.owner.batch_id.hex,)
    return ()


def apply(recorded: RecordedEvent, docs: Documents) -> None:
    match recorded.event:
        case BatchSubmitted(application_ids=application_ids):
            docs[recorded.stream_id.hex] = _submitted(recorded, [id.hex for id in application_ids])
        case ProcessingStarted():
            _moved(recorded, docs, Status.PROCESSING)
        case ApplicationSucceeded():
            _moved(recorded, docs, Status.SUCCESS)
        case ApplicationFailed(reason=reason) | ApplicationCancelled(reason=reason) as ended:
            failed = isinstance(ended, ApplicationFailed)
            _moved(recorded, docs, Status.FAILED if failed else Status.CANCELLED, reason)
        case RetryRequested():
            _moved(recorded, docs, Status.PENDING)
        case ApplicationSubmitted() | DocumentsWritten() | JobAttempted() | JobApplied() | JobFailed():
            pass
        case RetryScheduled() | Requeued() | BatchCancelled() | KeyUsed() | MessageRejected():
            pass
        case unknown:
            raise UnknownEvent(NAME, unknown)


def _submitted(recorded: RecordedEvent, application_ids: Sequence[str]) -> Document:
    key = recorded.stream_id.hex
    items = [{"application_id": id, "status": Status.PENDING.value, "error": None} for id in application_ids]
    return {
        "_id": key,
        "batch_id": key,
        "user_id": recorded.owner.user_id,
        "created_at": recorded.owner.submitted_at,
        "completed_at": None,
        "started": False,
        "items": items,
    }


def _moved(recorded: RecordedEvent, docs: Documents, status: Status, error: str | None = None) -> None:
    owner = recorded.owner
    if owner.batch_id is None or owner.batch_index is None:
        return
    doc = docs[owner.batch_id.hex]
    items: list[dict[str, Any]] = doc["items"]
    items[owner.batch_index] |= {"status": status.value, "error": error}
    if status is Status.PROCESSING:
        doc["started"] = True
    if any(item["status"] in OPEN for item in items):
        doc["completed_at"] = None
    elif doc["completed_at"] is None:
        doc["completed_at"] = recorded.metadata.at
