"""The `updates` read model: what the streams tell, one document a message (contract http.md 12, 13).

A document is inserted once and never changes, so what a stream has told can be told again, in the same words, to who
comes back with the id of the last that he has seen. All are kept: the contract sets no age at which a reader may no
longer come back. An id is the position of the event and a number: 0 for its first message, 1, 2, ... for the further
ones, written so that ids sort as they come. They are allotted in one place (`_id`), so that the messages of a stream
that an operator frees all carry the position of his decision.

What a batch is follows from its items, whose events stand in streams of their own. Beside the messages there is one
document a batch with what its items are so far; it is no message and has no user. It is begun by whichever event comes
first, so that an item that waits for an operator holds up neither the others nor their batch.
"""

from collections.abc import Collection, Sequence
from typing import Any

from pymongo import ASCENDING, IndexModel

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
from domain.batch import BatchCancelled, BatchSubmitted, batch_status
from domain.event import RecordedEvent
from domain.idempotency import KeyUsed
from domain.parked_decisions import EventSkipped, StreamRetried
from domain.rejected_message import MessageRejected
from projections.decisions import FreedEvent
from projections.read_model import Document, Documents, UnknownEvent

NAME, VERSION, SPANS_STREAMS = "updates", 1, False

INDEXES: Sequence[IndexModel] = [
    IndexModel(
        [("user_id", ASCENDING), ("_id", ASCENDING)],
        name="user",
        partialFilterExpression={"user_id": {"$exists": True}},
    )
]

POSITION_DIGITS, NUMBER_DIGITS = 18, 6
FIRST, FURTHER = 0, 1
MOST_EACH = 2  # messages of an event
BEYOND = ":"  # sorts after every id of a message, and before those of all other documents
BATCH = "batch:"

Changes = ProcessingStarted | ApplicationSucceeded | ApplicationFailed | ApplicationCancelled | RetryRequested


def update_id(position: int, number: int) -> str:
    return f"{position:0{POSITION_DIGITS}}.{number:0{NUMBER_DIGITS}}"


def _id(recorded: RecordedEvent, number: int) -> str:
    """Of its first or further message; those of events that were freed together follow each other."""
    earlier = MOST_EACH * recorded.place if isinstance(recorded, FreedEvent) else 0
    return update_id(recorded.position, earlier + number)


def touches(recorded: RecordedEvent) -> Collection[str]:
    first = _id(recorded, FIRST)
    match recorded.event:
        case ProcessingStarted(previous=Status.PROCESSING):
            return ()
        case ApplicationSubmitted():
            return (first,)
        case ProcessingStarted() | ApplicationSucceeded() | ApplicationFailed() | ApplicationCancelled():
            return _of_item(recorded, first)
        case RetryRequested():
            return _of_item(recorded, first)
        case BatchSubmitted() | BatchCancelled():
            return (first, BATCH + recorded.stream_id.hex)
        case _:
            return ()


def is_new(id: str, _recorded: RecordedEvent) -> bool:
    return id < BEYOND  # a message


def apply(recorded: RecordedEvent, docs: Documents) -> None:
    match recorded.event:
        case ApplicationSubmitted():
            _tell_status(recorded, docs, Status.PENDING)
        case ProcessingStarted(previous=previous):
            if previous is not Status.PROCESSING:  # else a worker took over, which is no change
                _moved(recorded, docs, Status.PROCESSING)
        case ApplicationSucceeded():
            _moved(recorded, docs, Status.SUCCESS)
        case ApplicationFailed(reason=reason):
            _moved(recorded, docs, Status.FAILED, reason)
        case ApplicationCancelled(reason=reason):
            _moved(recorded, docs, Status.CANCELLED, reason)
        case RetryRequested():
            _moved(recorded, docs, Status.PENDING)
        case BatchSubmitted(application_ids=application_ids):
            batch = _batch(recorded.stream_id.hex, docs)
            batch["total"] = len(application_ids)
            _tell_batch(recorded, docs, batch, FIRST)
        case BatchCancelled():
            _tell_batch(recorded, docs, _batch(recorded.stream_id.hex, docs), FIRST)
        case DocumentsWritten() | JobAttempted() | JobApplied() | JobFailed() | RetryScheduled() | Requeued():
            pass
        case KeyUsed() | MessageRejected():
            pass
        case StreamRetried() | EventSkipped():
            pass
        case unknown:
            raise UnknownEvent(NAME, unknown)


def _of_item(recorded: RecordedEvent, first: str) -> Sequence[str]:
    batch_id = recorded.owner.batch_id
    return (first,) if batch_id is None else (first, _id(recorded, FURTHER), BATCH + batch_id.hex)


def _moved(recorded: RecordedEvent, docs: Documents, status: Status, reason: str | None = None) -> None:
    """Tells of the application, and of its batch if something changes in what is told of that."""
    _tell_status(recorded, docs, status, reason)
    owner = recorded.owner
    if owner.batch_id is None or owner.batch_index is None:
        return
    batch = _batch(owner.batch_id.hex, docs)
    before = _summary(batch)
    batch["items"][str(owner.batch_index)] = status.value
    batch["started"] = batch["started"] or status is Status.PROCESSING
    if before is not None and _summary(batch) != before and not _stands_beside_its_batch(recorded):
        _tell_batch(recorded, docs, batch, FURTHER)


def _stands_beside_its_batch(recorded: RecordedEvent) -> bool:
    """Cancelled with its batch: BatchCancelled, which led to it and ends the append, tells of all items at once.

    What a user does to one application alone is led to by no event.
    """
    return isinstance(recorded.event, ApplicationCancelled) and recorded.metadata.cause.causation_id is not None


def _tell_status(recorded: RecordedEvent, docs: Documents, status: Status, reason: str | None = None) -> None:
    id = _id(recorded, FIRST)
    docs[id] = {
        "_id": id,
        "user_id": recorded.owner.user_id,
        "type": "status_update",
        "application_id": recorded.stream_id.hex,
        "status": status.value,
        "timestamp": recorded.metadata.at,
        "job_count": recorded.owner.job_count,
        **({} if reason is None else {"error_reason": reason}),
    }


def _tell_batch(recorded: RecordedEvent, docs: Documents, batch: Document, number: int) -> None:
    summary = _summary(batch)
    if summary is None:
        return
    id = _id(recorded, number)
    docs[id] = {
        "_id": id,
        "user_id": recorded.owner.user_id,
        "type": "batch_update",
        "batch_id": batch["_id"].removeprefix(BATCH),
        **summary,
        "timestamp": recorded.metadata.at,
    }


# -- what a batch's items are -----------------------------------------------------------------------------------------


def _batch(id: str, docs: Documents) -> Document:
    """`items` holds those that have moved, by their index; `total` is known from BatchSubmitted on."""
    begun: Document = {"_id": BATCH + id, "total": None, "started": False, "items": {}}
    return docs.setdefault(BATCH + id, begun)


def _summary(batch: Document) -> dict[str, Any] | None:
    """What is told of a batch. None before its BatchSubmitted."""
    if batch["total"] is None:
        return None
    moved = [Status(item) for item in batch["items"].values()]
    statuses = [*moved, *[Status.PENDING] * (batch["total"] - len(moved))]
    succeeded, failed, cancelled = map(statuses.count, (Status.SUCCESS, Status.FAILED, Status.CANCELLED))
    return {
        "status": batch_status(statuses, started=batch["started"]).value,
        "total": len(statuses),
        "processed": succeeded + failed + cancelled,
        "succeeded": succeeded,
        "failed": failed,
    }
