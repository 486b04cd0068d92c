"""The `status` read model: one document an application, what its status endpoint shows (contract http.md 3).

`updated_at` is the last change that its user can see: of the status, or a job's result. `waiting_since` is the time of
the newest event while the application has not ended, else null: the reconciler looks for old ones (design 7).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
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

NAME, VERSION, SPANS_STREAMS = "status", 1, False

INDEXES: Sequence[IndexModel] = [
    IndexModel([("user_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)], name="user"),
    IndexModel("waiting_since", name="waiting", partialFilterExpression={"waiting_since": {"$type": "date"}}),
    IndexModel("cv_id", name="cv", partialFilterExpression={"cv_id": {"$type": "string"}}),
]

OTHERS = BatchSubmitted | BatchCancelled | KeyUsed | MessageRejected


def touches(recorded: RecordedEvent) -> Iterable[str]:
    return () if isinstance(recorded.event, OTHERS) else (recorded.stream_id.hex,)


def apply(recorded: RecordedEvent, docs: Documents) -> None:
    key, at = recorded.stream_id.hex, recorded.metadata.at
    match recorded.event:
        case ApplicationSubmitted(cv=cv):
            docs[key] = _submitted(recorded, cv.id if cv else None)
        case ProcessingStarted(previous=previous):
            docs[key] |= {"status": Status.PROCESSING.value, "waiting_since": at}
            if previous is not Status.PROCESSING:  # else a worker took over, which is no change
                docs[key]["updated_at"] = at
        case ApplicationSucceeded():
            docs[key] |= _ended(Status.SUCCESS, at, processed_at=at)
        case ApplicationFailed(reason=reason):
            docs[key] |= _ended(Status.FAILED, at, processed_at=at, error_reason=reason)
        case ApplicationCancelled(reason=reason):
            docs[key] |= _ended(Status.CANCELLED, at, error_reason=reason)
        case RetryRequested():
            docs[key] |= _ended(Status.PENDING, at) | {"waiting_since": at}
        case JobApplied() | JobFailed():
            docs[key]["updated_at"] = at
            _still_waiting(docs[key], at)
        case DocumentsWritten() | JobAttempted() | RetryScheduled() | Requeued():
            _still_waiting(docs[key], at)
        case BatchSubmitted() | BatchCancelled() | KeyUsed() | MessageRejected():
            pass
        case unknown:
            raise UnknownEvent(NAME, unknown)


def _submitted(recorded: RecordedEvent, cv_id: str | None) -> Document:
    owner, key, at = recorded.owner, recorded.stream_id.hex, recorded.metadata.at
    return {
        "_id": key,
        "application_id": key,
        "user_id": owner.user_id,
        "status": Status.PENDING.value,
        "job_count": owner.job_count,
        "created_at": owner.submitted_at,
        "updated_at": at,
        "processed_at": None,
        "error_reason": None,
        "cv_id": cv_id,
        "waiting_since": at,
    }


def _ended(
    status: Status, at: datetime, *, processed_at: datetime | None = None, error_reason: str | None = None
) -> dict[str, Any]:
    return {
        "status": status.value,
        "updated_at": at,
        "processed_at": processed_at,
        "error_reason": error_reason,
        "waiting_since": None,
    }


def _still_waiting(doc: Document, at: datetime) -> None:
    if doc["waiting_since"] is not None:
        doc["waiting_since"] = at
