"""The `totals` read model: how many there are, so that nobody counts by scanning.

One document a counter, gone when it is zero: the applications in each status; each user's entries in each list; and the
same by portal, as the user wrote its name.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson
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
from domain.batch import BatchCancelled, BatchSubmitted
from domain.event import RecordedEvent
from domain.idempotency import KeyUsed
from domain.rejected_message import MessageRejected
from projections.entries import folded
from projections.read_model import Document, Documents, UnknownEvent

NAME, VERSION, SPANS_STREAMS = "totals", 1, True

INDEXES: Sequence[IndexModel] = [
    IndexModel(
        [("user_id", ASCENDING), ("list", ASCENDING), ("portal_folded", ASCENDING)],
        name="user",
        partialFilterExpression={"user_id": {"$exists": True}},
    ),
    IndexModel("status", name="status", partialFilterExpression={"status": {"$exists": True}}),
]


@dataclass(frozen=True, slots=True)
class Step:
    """A counter goes up or down by one."""

    key: str
    by: int
    labels: Document


def _key(*labels: str) -> str:
    """Unambiguous, whatever a user's or portal's name holds."""
    return orjson.dumps(labels).decode()


MORE = {status: Step(_key("status", status.value), 1, {"status": status.value}) for status in Status}
LESS = {status: Step(_key("status", status.value), -1, {"status": status.value}) for status in Status}


def touches(recorded: RecordedEvent) -> Iterable[str]:
    return {step.key for step in _steps(recorded)}


def apply(recorded: RecordedEvent, docs: Documents) -> None:
    for step in _steps(recorded):
        before = docs.pop(step.key, None) or {"_id": step.key, **step.labels, "count": 0}
        if count := before["count"] + step.by:
            docs[step.key] = before | {"count": count}


def entries_key(kind: str, user_id: str) -> str:
    """Id of the counter of all entries of a user in a list."""
    return _key("entries", kind, user_id)


def _steps(recorded: RecordedEvent) -> Sequence[Step]:  # noqa: PLR0911  one arm for each event
    match recorded.event:
        case ApplicationSubmitted():
            return [MORE[Status.PENDING]]
        case ProcessingStarted(previous=previous):
            return _moved(previous, Status.PROCESSING)
        case ApplicationSucceeded(previous=previous):
            return _moved(previous, Status.SUCCESS)
        case ApplicationFailed():
            return _moved(Status.PROCESSING, Status.FAILED)
        case ApplicationCancelled():
            return _moved(Status.PENDING, Status.CANCELLED)
        case RetryRequested(reopened=reopened):
            gone = [step for job in reopened for step in _entries(recorded, "failed", job.portal, -1)]
            return [*_moved(Status.FAILED, Status.PENDING), *gone]
        case JobApplied(job=job, was_failed=was_failed):
            gone = _entries(recorded, "failed", job.portal, -1) if was_failed else []
            return [*gone, *_entries(recorded, "applied", job.portal, 1)]
        case JobFailed(job=job):
            return _entries(recorded, "failed", job.portal, 1)
        case DocumentsWritten() | JobAttempted() | RetryScheduled() | Requeued():
            return []
        case BatchSubmitted() | BatchCancelled() | KeyUsed() | MessageRejected():
            return []
        case unknown:
            raise UnknownEvent(NAME, unknown)


def _moved(previous: Status, status: Status) -> list[Step]:
    return [] if previous is status else [LESS[previous], MORE[status]]


def _entries(recorded: RecordedEvent, kind: str, portal: str | None, by: int) -> list[Step]:
    user_id = recorded.owner.user_id
    labels = {"list": kind, "user_id": user_id}
    steps = [Step(entries_key(kind, user_id), by, labels)]
    if portal is not None:
        named = {**labels, "portal": portal, "portal_folded": folded(portal)}
        steps.append(Step(_key("entries", kind, user_id, portal), by, named))
    return steps
