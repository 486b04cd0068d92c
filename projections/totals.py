"""The `totals` read model: how many there are, so that nobody counts by scanning.

One document a counter, gone when it is zero: the applications in each status; each user's applications, with the
`parts` of them that are in each status; his batches; his entries in each list, and the same by portal, as he wrote its
name.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

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
from domain.parked_decisions import EventSkipped, StreamRetried
from domain.rejected_message import MessageRejected
from projections.entries import folded
from projections.read_model import Document, Documents, UnknownEvent

NAME, VERSION, SPANS_STREAMS = "totals", 2, True

INDEXES: Sequence[IndexModel] = [
    IndexModel(
        [("user_id", ASCENDING), ("list", ASCENDING), ("portal_folded", ASCENDING)],
        name="user",
        partialFilterExpression={"user_id": {"$exists": True}},
    ),
    IndexModel("status", name="status", partialFilterExpression={"status": {"$exists": True}}),
]

APPLICATIONS, BATCHES = "applications", "batches"
CACHED = 4_000


@dataclass(frozen=True, slots=True)
class Step:
    """A counter goes up or down by one, and a part of it with it. What a user's counter counts is its `list`.

    Those of a user are asked for again and again, so the newest are kept: nobody may change their labels.
    """

    key: str
    by: int
    labels: Document
    part: str | None = None


def _key(*labels: str) -> str:
    """Unambiguous, whatever a user's or portal's name holds."""
    return orjson.dumps(labels).decode()


MORE = {status: Step(_key("status", status.value), 1, {"status": status.value}) for status in Status}
LESS = {status: Step(_key("status", status.value), -1, {"status": status.value}) for status in Status}


def touches(recorded: RecordedEvent) -> Collection[str]:
    return {step.key for step in _steps(recorded)}


def is_new(_id: str, _recorded: RecordedEvent) -> bool:
    return False


def apply(recorded: RecordedEvent, docs: Documents) -> None:
    for step in _steps(recorded):
        doc = docs.pop(step.key, None) or {"_id": step.key, **step.labels, "count": 0}
        doc["count"] += step.by
        if step.part is not None:
            _count_part(doc, step.part, step.by)
        if doc["count"]:
            docs[step.key] = doc


def _count_part(doc: Document, part: str, by: int) -> None:
    parts = doc.setdefault("parts", {})
    count = parts.pop(part, 0) + by
    if count:
        parts[part] = count


def applications_key(user_id: str) -> str:
    """Id of the counter of a user's applications."""
    return _key(APPLICATIONS, user_id)


def batches_key(user_id: str) -> str:
    """Id of the counter of a user's batches."""
    return _key(BATCHES, user_id)


def entries_key(kind: str, user_id: str) -> str:
    """Id of the counter of all entries of a user in a list."""
    return _key("entries", kind, user_id)


def _steps(recorded: RecordedEvent) -> Sequence[Step]:  # noqa: PLR0911  one arm for each event
    match recorded.event:
        case ApplicationSubmitted():
            return [MORE[Status.PENDING], _of_user(recorded.owner.user_id, Status.PENDING, 1)]
        case ProcessingStarted(previous=previous):
            return _moved(recorded, previous, Status.PROCESSING)
        case ApplicationSucceeded(previous=previous):
            return _moved(recorded, previous, Status.SUCCESS)
        case ApplicationFailed():
            return _moved(recorded, Status.PROCESSING, Status.FAILED)
        case ApplicationCancelled():
            return _moved(recorded, Status.PENDING, Status.CANCELLED)
        case RetryRequested(reopened=reopened):
            user_id = recorded.owner.user_id
            gone = (step for job in reopened for step in _entries(user_id, "failed", job.portal, -1))
            return [*_moved(recorded, Status.FAILED, Status.PENDING), *gone]
        case JobApplied(job=job, was_failed=was_failed):
            user_id = recorded.owner.user_id
            no_longer = _entries(user_id, "failed", job.portal, -1) if was_failed else ()
            return [*no_longer, *_entries(user_id, "applied", job.portal, 1)]
        case JobFailed(job=job):
            return _entries(recorded.owner.user_id, "failed", job.portal, 1)
        case DocumentsWritten() | JobAttempted() | RetryScheduled() | Requeued():
            return []
        case BatchSubmitted():
            user_id = recorded.owner.user_id
            return [Step(batches_key(user_id), 1, {"list": BATCHES, "user_id": user_id})]
        case BatchCancelled() | KeyUsed() | MessageRejected():
            return []
        case StreamRetried() | EventSkipped():
            return []
        case unknown:
            raise UnknownEvent(NAME, unknown)


def _moved(recorded: RecordedEvent, previous: Status, status: Status) -> list[Step]:
    if previous is status:
        return []
    # up before down: at zero the counter would be gone, with its other parts
    return [
        LESS[previous],
        MORE[status],
        _of_user(recorded.owner.user_id, status, 1),
        _of_user(recorded.owner.user_id, previous, -1),
    ]


@lru_cache(CACHED)
def _of_user(user_id: str, status: Status, by: int) -> Step:
    return Step(applications_key(user_id), by, {"list": APPLICATIONS, "user_id": user_id}, status.value)


@lru_cache(CACHED)
def _entries(user_id: str, kind: str, portal: str | None, by: int) -> Sequence[Step]:
    labels = {"list": kind, "user_id": user_id}
    steps = [Step(entries_key(kind, user_id), by, labels)]
    if portal is not None:
        named = {**labels, "portal": portal, "portal_folded": folded(portal)}
        steps.append(Step(_key("entries", kind, user_id, portal), by, named))
    return tuple(steps)
