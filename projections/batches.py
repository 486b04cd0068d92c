"""The `batches` read model: one document a batch, with the status of each of its items (contract http.md 7.2).

It is made by BatchSubmitted, which stands after the submissions of its items in their append: so a reader never sees
half a batch. `started` tells that an item has been started once, even if a retry made it pending again. A result that
comes late changes the counts of a completed batch, and not when it was completed. The counts are kept beside the items,
so that a list of batches need not read those.
"""

from collections.abc import Collection, Sequence
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
from domain.parked_decisions import EventSkipped, StreamRetried
from domain.rejected_message import MessageRejected
from projections.entries import order_of
from projections.read_model import Document, Documents, UnknownEvent

NAME, VERSION, SPANS_STREAMS = "batches", 2, True

INDEXES: Sequence[IndexModel] = [
    IndexModel(
        [("user_id", ASCENDING), ("order", DESCENDING)],
        name="user",
        partialFilterExpression={"user_id": {"$exists": True}},
    )
]

STEPS = ProcessingStarted | ApplicationSucceeded | ApplicationFailed | ApplicationCancelled | RetryRequested
OPEN = (Status.PENDING.value, Status.PROCESSING.value)


def touches(recorded: RecordedEvent) -> Collection[str]:
    if isinstance(recorded.event, BatchSubmitted):
        return (recorded.stream_id.hex,)
    if isinstance(recorded.event, STEPS) and recorded.owner.batch_id is not None:
        return (recorded.owner.batch_id.hex,)
    return ()


def is_new(_id: str, recorded: RecordedEvent) -> bool:
    return isinstance(recorded.event, BatchSubmitted)


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
        case StreamRetried() | EventSkipped():
            pass
        case unknown:
            raise UnknownEvent(NAME, unknown)


def _submitted(recorded: RecordedEvent, application_ids: Sequence[str]) -> Document:
    key, at = recorded.stream_id.hex, recorded.owner.submitted_at
    items = [{"application_id": id, "status": Status.PENDING.value, "error": None} for id in application_ids]
    return {
        "_id": key,
        "batch_id": key,
        "user_id": recorded.owner.user_id,
        "order": order_of(at, recorded.stream_id, 0),
        "created_at": at,
        "completed_at": None,
        "started": False,
        "counts": {status.value: 0 for status in Status} | {Status.PENDING.value: len(items)},
        "items": items,
    }


def _moved(recorded: RecordedEvent, docs: Documents, status: Status, error: str | None = None) -> None:
    owner = recorded.owner
    if owner.batch_id is None or owner.batch_index is None:
        return
    doc = docs[owner.batch_id.hex]
    items: list[dict[str, Any]] = doc["items"]
    counts: dict[str, int] = doc["counts"]
    item = items[owner.batch_index]
    counts[item["status"]] -= 1
    counts[status.value] += 1
    item |= {"status": status.value, "error": error}
    if status is Status.PROCESSING:
        doc["started"] = True
    if any(counts[one] for one in OPEN):
        doc["completed_at"] = None
    elif doc["completed_at"] is None:
        doc["completed_at"] = recorded.metadata.at
