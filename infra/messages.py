"""What the queues say: from an event to its messages, and from a processing message to the work that it asks for.

All of it is contract messaging.md 2 to 5. Pure: the same event always gives the same messages, with the same ids, so
that what is published again is known as the same fact. An event says all that its messages need; no stream is loaded.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, cast
from uuid import UUID

import orjson

from domain.application_events import (
    ApplicationCancelled,
    ApplicationFailed,
    ApplicationSubmitted,
    ApplicationSucceeded,
    Brief,
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

NOTIFICATION_VERSION = "1.0"
CORRELATION_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")  # contract http.md 1.3
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,100})?")


class QueueKind(StrEnum):
    """The three queues, whatever their names are."""

    PROCESSING = "processing"
    NOTIFICATIONS = "notifications"
    DEAD_LETTERS = "dead_letters"


OUR_ID = re.compile(rf"[0-9a-f]{{32}}-[0-9]{{1,9}}-({'|'.join(QueueKind)})")


@dataclass(frozen=True, slots=True)
class QueueNames:
    processing: str
    notifications: str
    dead_letters: str

    def of(self, kind: QueueKind) -> str:
        return cast(str, getattr(self, kind.value))


@dataclass(frozen=True, slots=True)
class DeadLetterKind:
    """How dead letters are counted (contract metrics.md, `dlq_messages_total`)."""

    original_queue: str
    error_type: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it goes out. `due_at`: not before then."""

    queue: QueueKind
    message_id: str
    body: bytes
    correlation_id: str | None = None
    traceparent: str | None = None
    due_at: datetime | None = None
    dead_letter: DeadLetterKind | None = None


# -- from an event to its messages ------------------------------------------------------------------------------------


def messages_of(recorded: RecordedEvent, names: QueueNames) -> Sequence[Message]:  # noqa: PLR0911  one arm for each event
    """The facts that an event is for the queues: at most one for each."""
    match recorded.event:
        case ApplicationSubmitted(style=style, cv=cv):
            brief = Brief(cv_id=cv.id if cv else None, style=style)
            return [_work(recorded, brief), _notification(recorded, "application.submitted", Status.PENDING)]
        case ProcessingStarted(previous=Status.PENDING as previous):
            return [_change(recorded, Status.PROCESSING, previous)]
        case ApplicationSucceeded(previous=previous):
            return [_change(recorded, Status.SUCCESS, previous)]
        case ApplicationFailed(reason=reason) as failed:
            changed = _change(recorded, Status.FAILED, Status.PROCESSING, reason)
            return [changed, _dead_letter_of_failed(recorded, failed, names.processing)]
        case RetryScheduled(brief=brief, due_at=due_at):
            return [_work(recorded, brief, due_at)]
        case RetryRequested(brief=brief):
            return [_work(recorded, brief), _change(recorded, Status.PENDING, Status.FAILED)]
        case Requeued(brief=brief):
            return [_work(recorded, brief)]
        case ApplicationCancelled(reason=reason):
            return [_change(recorded, Status.CANCELLED, Status.PENDING, reason)]
        case MessageRejected() as rejected:
            return [_dead_letter_of_rejected(recorded, rejected)]
        case ProcessingStarted() | DocumentsWritten() | JobAttempted() | JobApplied() | JobFailed():
            return []
        case BatchSubmitted() | BatchCancelled() | KeyUsed() | StreamRetried() | EventSkipped():
            return []
        case unknown:
            raise TypeError(f"the queues do not know {unknown!r}")


def _message(
    recorded: RecordedEvent,
    queue: QueueKind,
    body: dict[str, Any],
    due_at: datetime | None = None,
    dead_letter: DeadLetterKind | None = None,
) -> Message:
    cause = recorded.metadata.cause
    if cause.correlation_id is not None:
        body["correlation_id"] = cause.correlation_id
    return Message(
        queue=queue,
        message_id=f"{recorded.stream_id.hex}-{recorded.version}-{queue}",
        body=orjson.dumps(body),
        correlation_id=cause.correlation_id,
        traceparent=cause.traceparent,
        due_at=due_at,
        dead_letter=dead_letter,
    )


def _work(recorded: RecordedEvent, brief: Brief, due_at: datetime | None = None) -> Message:
    body = _work_body(recorded, brief, recorded.version)
    return _message(recorded, QueueKind.PROCESSING, body, due_at)


def _work_body(recorded: RecordedEvent, brief: Brief, version: int) -> dict[str, Any]:
    owner = recorded.owner
    return {
        "application_id": recorded.stream_id.hex,
        "user_id": owner.user_id,
        "job_count": owner.job_count,
        "cv_id": brief.cv_id,
        "style": brief.style,
        "version": version,
    }


def _change(recorded: RecordedEvent, status: Status, previous: Status, reason: str | None = None) -> Message:
    changed = {"previous_status": previous} if reason is None else {"previous_status": previous, "error_reason": reason}
    return _notification(recorded, "application.status_changed", status, **changed)


def _notification(recorded: RecordedEvent, event: str, status: Status, **changed: str) -> Message:
    owner = recorded.owner
    body = {
        "event": event,
        "version": NOTIFICATION_VERSION,
        "application_id": recorded.stream_id.hex,
        "user_id": owner.user_id,
        "status": status,
        "job_count": owner.job_count,
        "timestamp": _timestamp(recorded.metadata.at),
        **changed,
    }
    return _message(recorded, QueueKind.NOTIFICATIONS, body)


def _dead_letter_of_failed(recorded: RecordedEvent, failed: ApplicationFailed, queue: str) -> Message:
    original = _work_body(recorded, failed.brief, failed.queued_version)
    if recorded.metadata.cause.correlation_id is not None:
        original["correlation_id"] = recorded.metadata.cause.correlation_id
    body = {
        "application_id": recorded.stream_id.hex,
        "error_message": failed.reason,
        "original_message": original,
        "failed_at": _timestamp(recorded.metadata.at),
        "attempts": failed.attempts,
        "error_type": failed.error_type,
    }
    kind = DeadLetterKind(queue, failed.error_type)
    return _message(recorded, QueueKind.DEAD_LETTERS, body, dead_letter=kind)


def _dead_letter_of_rejected(recorded: RecordedEvent, rejected: MessageRejected) -> Message:
    raw = {"raw": rejected.raw} if rejected.raw is not None else {"raw_base64": rejected.raw_base64}
    body = {
        "application_id": rejected.application_id,
        "error_message": rejected.reason,
        "original_message": raw,
        "failed_at": _timestamp(recorded.metadata.at),
        "attempts": 0,
        "error_type": rejected.error_type,
    }
    kind = DeadLetterKind(rejected.queue, rejected.error_type)
    return _message(recorded, QueueKind.DEAD_LETTERS, body, dead_letter=kind)


def _timestamp(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- from a processing message to its work ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Work:
    """What a processing message asks for. `version` is None in a message from outside."""

    application_id: str
    user_id: str
    version: int | None = None
    correlation_id: str | None = None

    @property
    def stream_id(self) -> UUID | None:
        """None for an id that none of our applications can have."""
        known = re.fullmatch(r"[0-9a-f]{32}", self.application_id)
        return UUID(self.application_id) if known else None


class UnreadableMessage(Exception):
    """No work can be read from a message. `application_id` as it says, if it does."""

    def __init__(self, reason: str, error_type: str, application_id: str | None = None) -> None:
        super().__init__(reason)
        self.error_type, self.application_id = error_type, application_id


def read_work(body: bytes) -> Work:
    """Raises UnreadableMessage for what is no JSON object with `application_id` and `user_id`; ignores unknown fields.

    An optional field that cannot be used counts as absent.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UnreadableMessage(f"Not JSON: {error}", "JSONDecodeError") from error
    if not isinstance(content, dict):
        raise UnreadableMessage("Not a JSON object", "TypeError")
    application_id = _text(content, "application_id")
    user_id = _text(content, "user_id")
    if application_id is None or user_id is None:
        missing = "application_id" if application_id is None else "user_id"
        raise UnreadableMessage(f"{missing} is missing or not a string", "KeyError", application_id)
    version, correlation_id = content.get("version"), _text(content, "correlation_id")
    return Work(
        application_id=application_id,
        user_id=user_id,
        version=version if type(version) is int else None,
        correlation_id=acceptable_correlation_id(correlation_id),
    )


def acceptable_correlation_id(text: str | None) -> str | None:
    """The id itself, or None for one that other parts of the service would refuse."""
    return text if text is not None and CORRELATION_ID.fullmatch(text) else None


def is_ours(message_id: str | None) -> bool:
    """Whether a message has an id as those that come from the log have."""
    return OUR_ID.fullmatch(message_id or "") is not None


def acceptable_traceparent(value: object) -> str | None:
    """A header's value if it is a W3C trace context (version 00 and what later ones may add)."""
    return value if isinstance(value, str) and TRACEPARENT.fullmatch(value) else None


def _text(content: dict[str, Any], field: str) -> str | None:
    value = content.get(field)
    return value if isinstance(value, str) and value else None
