"""The `failed` read model: one document a job that failed for good, the entries of `/fail_applied` (http.md 4.2).

An entry leaves when a retry opens its job again, or when the portal has the job after all.
"""

from collections.abc import Collection

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
)
from domain.batch import BatchCancelled, BatchSubmitted
from domain.event import RecordedEvent
from domain.idempotency import KeyUsed
from domain.parked_decisions import EventSkipped, StreamRetried
from domain.rejected_message import MessageRejected
from projections import entries
from projections.read_model import Documents, UnknownEvent

NAME, VERSION, SPANS_STREAMS = "failed", 1, False
INDEXES = entries.INDEXES


def touches(recorded: RecordedEvent) -> Collection[str]:
    match recorded.event:
        case JobFailed(position=position) | JobApplied(position=position, was_failed=True):
            return (entries.entry_key(recorded, position),)
        case RetryRequested(reopened=reopened):
            return [entries.entry_key(recorded, job.position) for job in reopened]
        case _:
            return ()


def is_new(_id: str, _recorded: RecordedEvent) -> bool:
    return False


def apply(recorded: RecordedEvent, docs: Documents) -> None:
    match recorded.event:
        case JobFailed(position=position) as event:
            docs[entries.entry_key(recorded, position)] = entries.failed_entry(recorded, event)
        case JobApplied(position=position, was_failed=was_failed):
            if was_failed:
                del docs[entries.entry_key(recorded, position)]
        case RetryRequested(reopened=reopened):
            for job in reopened:
                del docs[entries.entry_key(recorded, job.position)]
        case ApplicationSubmitted() | ApplicationSucceeded() | ApplicationFailed() | ApplicationCancelled():
            pass
        case ProcessingStarted() | DocumentsWritten() | JobAttempted() | RetryScheduled() | Requeued():
            pass
        case BatchSubmitted() | BatchCancelled() | KeyUsed() | MessageRejected():
            pass
        case StreamRetried() | EventSkipped():
            pass
        case unknown:
            raise UnknownEvent(NAME, unknown)
