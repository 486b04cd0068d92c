"""The `applied` read model: one document a job that its portal has, the entries of `/applied` (contract http.md 4.1).

An entry is never removed: cancelling or retrying the application leaves what was applied.
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

NAME, VERSION, SPANS_STREAMS = "applied", 1, False
INDEXES = entries.INDEXES


def touches(recorded: RecordedEvent) -> Collection[str]:
    match recorded.event:
        case JobApplied(position=position):
            return (entries.entry_key(recorded, position),)
        case _:
            return ()


def is_new(_id: str, _recorded: RecordedEvent) -> bool:
    return True


def apply(recorded: RecordedEvent, docs: Documents) -> None:
    match recorded.event:
        case JobApplied(position=position) as event:
            docs[entries.entry_key(recorded, position)] = entries.applied_entry(recorded, event)
        case ApplicationSubmitted() | ApplicationSucceeded() | ApplicationFailed() | ApplicationCancelled():
            pass
        case ProcessingStarted() | DocumentsWritten() | JobAttempted() | JobFailed():
            pass
        case RetryScheduled() | RetryRequested() | Requeued():
            pass
        case BatchSubmitted() | BatchCancelled() | KeyUsed() | MessageRejected():
            pass
        case StreamRetried() | EventSkipped():
            pass
        case unknown:
            raise UnknownEvent(NAME, unknown)
