"""The `status` read model: what the status endpoint and the list of applications show (contract http.md 3, 15).

Two documents an application. One changes: where it stands. `updated_at` is the last change that its user can see: of
the status, or a job's result. `results` are those of its first jobs, null while one is open. `waiting_since` is the
time of the newest event while the application has not ended, else null: the reconciler looks for old ones (design 7).

The other is written once: the names of its first jobs, and those of all of them with their case folded, for the filters
of the list. They may be many, so what changes does not carry them along.
"""

from collections.abc import Collection, Sequence
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
from domain.job import Job
from domain.parked_decisions import EventSkipped, StreamRetried
from domain.rejected_message import MessageRejected
from projections.entries import folded, order_of
from projections.read_model import Document, Documents, UnknownEvent

NAME, VERSION, SPANS_STREAMS = "status", 2, False

USERS_OWN = {"user_id": {"$exists": True}}
INDEXES: Sequence[IndexModel] = [
    IndexModel([("user_id", ASCENDING), ("order", DESCENDING)], name="user", partialFilterExpression=USERS_OWN),
    IndexModel(
        [("user_id", ASCENDING), ("status", ASCENDING), ("order", DESCENDING)],
        name="user_status",
        partialFilterExpression=USERS_OWN,
    ),
    IndexModel(
        [("jobs_of", ASCENDING), ("order", DESCENDING)],
        name="jobs",
        partialFilterExpression={"jobs_of": {"$exists": True}},
    ),
    IndexModel("waiting_since", name="waiting", partialFilterExpression={"waiting_since": {"$type": "date"}}),
    IndexModel("cv_id", name="cv", partialFilterExpression={"cv_id": {"$type": "string"}}),
]
FIRST_JOBS = 20
NAMES = ("title", "company_name", "portal")

OTHERS = BatchSubmitted | BatchCancelled | KeyUsed | MessageRejected | StreamRetried | EventSkipped


def touches(recorded: RecordedEvent) -> Collection[str]:
    key = recorded.stream_id.hex
    if isinstance(recorded.event, ApplicationSubmitted):
        return (key, jobs_key(key))
    return () if isinstance(recorded.event, OTHERS) else (key,)


def is_new(_id: str, recorded: RecordedEvent) -> bool:
    return isinstance(recorded.event, ApplicationSubmitted)


def apply(recorded: RecordedEvent, docs: Documents) -> None:
    key, at = recorded.stream_id.hex, recorded.metadata.at
    match recorded.event:
        case ApplicationSubmitted(jobs=jobs, cv=cv):
            docs[key] = _submitted(recorded, cv.id if cv else None)
            docs[jobs_key(key)] = _jobs(recorded, jobs)
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
        case RetryRequested(reopened=reopened):
            docs[key] |= _ended(Status.PENDING, at) | {"waiting_since": at}
            for job in reopened:
                _result(docs[key], job.position, None)
        case JobApplied(position=position) | JobFailed(position=position) as result:
            docs[key]["updated_at"] = at
            _result(docs[key], position, Status.SUCCESS if isinstance(result, JobApplied) else Status.FAILED)
            _still_waiting(docs[key], at)
        case DocumentsWritten() | JobAttempted() | RetryScheduled() | Requeued():
            _still_waiting(docs[key], at)
        case BatchSubmitted() | BatchCancelled() | KeyUsed() | MessageRejected():
            pass
        case StreamRetried() | EventSkipped():
            pass
        case unknown:
            raise UnknownEvent(NAME, unknown)


def jobs_key(application_id: str) -> str:
    """Id of the document of its jobs; no id of an application."""
    return f"jobs:{application_id}"


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
        "order": _order(recorded),
        "results": [None] * min(owner.job_count, FIRST_JOBS),
    }


def _jobs(recorded: RecordedEvent, jobs: Sequence[Job]) -> Document:
    """Jobs whose names differ by case only are found by the same filters, so one of them is enough."""
    names = dict.fromkeys((folded(job.portal), folded(job.company_name), folded(job.title)) for job in jobs)
    key = recorded.stream_id.hex
    return {
        "_id": jobs_key(key),
        "application_id": key,
        "jobs_of": recorded.owner.user_id,
        "order": _order(recorded),
        "jobs": [{name: getattr(job, name) for name in NAMES} for job in jobs[:FIRST_JOBS]],
        "folded": [{"portal": portal, "company": company, "title": title} for portal, company, title in names],
    }


def _order(recorded: RecordedEvent) -> str:
    return order_of(recorded.owner.submitted_at, recorded.stream_id, 0)


def _result(doc: Document, position: int, status: Status | None) -> None:
    if position <= FIRST_JOBS:
        doc["results"][position - 1] = None if status is None else status.value


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
