"""What the queues say of each event (contract messaging.md 2 to 5)."""

import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest

from domain.batch import BatchCancelled, BatchSubmitted
from domain.event import Cause, Event, Metadata, RecordedEvent
from domain.idempotency import KeyUsed
from domain.parked_decisions import EventSkipped, StreamRetried
from domain.rejected_message import MessageRejected, raw_parts
from infra.messages import (
    DeadLetterKind,
    Message,
    QueueKind,
    QueueNames,
    UnreadableMessage,
    Work,
    acceptable_correlation_id,
    acceptable_traceparent,
    messages_of,
    read_work,
)
from tests.builders import APPLICATION_ID, CAUSE, START, ApplicationStory, a_batch, an_application

NAMES = QueueNames(processing="work", notifications="news", dead_letters="dead")
SUBMITTED = an_application().submitted()
STARTED = SUBMITTED.started()
ENDED = STARTED.attempted().refused().failed()


def last(story: ApplicationStory) -> dict[QueueKind, Message]:
    """The messages of a story's last event."""
    return {message.queue: message for message in messages_of(story.recorded()[-1], NAMES)}


def body(message: Message) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(message.body)
    return content


def change(story: ApplicationStory) -> dict[str, Any]:
    return body(last(story)[QueueKind.NOTIFICATIONS])


# -- work -------------------------------------------------------------------------------------------------------------


def test_a_submission_is_queued_with_what_the_worker_needs() -> None:
    message = last(an_application().submitted(jobs=2))[QueueKind.PROCESSING]
    assert body(message) == {
        "application_id": APPLICATION_ID.hex,
        "user_id": "ada",
        "job_count": 2,
        "cv_id": "ada-cv",
        "style": "modern",
        "version": 1,
        "correlation_id": "correlation-1",
    }
    assert message.due_at is None


def test_without_cv_and_style_they_are_null() -> None:
    content = body(last(an_application().submitted(style=None, cv=None))[QueueKind.PROCESSING])
    assert (content["cv_id"], content["style"]) == (None, None)


@pytest.mark.parametrize(
    "story", [SUBMITTED, ENDED.retried(), STARTED.requeued(), STARTED.attempted().retry_scheduled()]
)
def test_each_fact_that_queues_work_is_a_message_with_the_version_of_its_event(story: ApplicationStory) -> None:
    message = last(story)[QueueKind.PROCESSING]
    assert body(message)["version"] == len(story.events) == story.application.queued_version
    assert message.message_id == f"{APPLICATION_ID.hex}-{len(story.events)}-processing"


def test_a_retry_that_is_due_later_says_when() -> None:
    due_at = START + timedelta(seconds=90)
    assert last(STARTED.attempted().retry_scheduled(due_at=due_at))[QueueKind.PROCESSING].due_at == due_at


# -- properties -------------------------------------------------------------------------------------------------------


def test_correlation_and_trace_go_along() -> None:
    message = last(SUBMITTED)[QueueKind.NOTIFICATIONS]
    assert (message.correlation_id, message.traceparent) == (CAUSE.correlation_id, CAUSE.traceparent)
    assert body(message)["correlation_id"] == CAUSE.correlation_id


def test_without_a_correlation_id_the_field_is_absent() -> None:
    story = replace(an_application().submitted(), cause=Cause("user:ada"))
    for message in last(story).values():
        assert message.correlation_id is None
        assert "correlation_id" not in body(message)


def test_message_ids_are_the_same_every_time_and_differ_between_queues() -> None:
    first, second = messages_of(ENDED.recorded()[-1], NAMES), messages_of(ENDED.recorded()[-1], NAMES)
    assert first == second
    assert len({message.message_id for message in first}) == len(first) == 2


# -- notifications ----------------------------------------------------------------------------------------------------


def test_a_submission_is_told_once_as_pending() -> None:
    content = change(an_application().submitted(jobs=3))
    assert content == {
        "event": "application.submitted",
        "version": "1.0",
        "application_id": APPLICATION_ID.hex,
        "user_id": "ada",
        "status": "pending",
        "job_count": 3,
        "timestamp": "2026-01-01T12:00:00.000Z",
        "correlation_id": "correlation-1",
    }


@pytest.mark.parametrize(
    ("story", "previous", "status", "reason"),
    [
        (STARTED, "pending", "processing", None),
        (STARTED.attempted().applied().succeeded(), "processing", "success", None),
        (ENDED, "processing", "failed", "Position closed"),
        (ENDED.retried(), "failed", "pending", None),
        (SUBMITTED.cancelled(), "pending", "cancelled", "Cancelled by user"),
    ],
)
def test_each_change_of_status_is_told(story: ApplicationStory, previous: str, status: str, reason: str | None) -> None:
    content = change(story)
    assert content["event"] == "application.status_changed"
    assert (content["previous_status"], content["status"]) == (previous, status)
    assert content.get("error_reason") == reason
    assert ("error_reason" in content) == (reason is not None)


def test_the_time_told_is_when_it_happened() -> None:
    assert change(STARTED)["timestamp"] == "2026-01-01T12:00:01.000Z"


@pytest.mark.parametrize(
    "story", [STARTED.started(), STARTED.attempted(), STARTED.attempted().retry_scheduled(), STARTED.requeued()]
)
def test_automatic_retries_are_no_change(story: ApplicationStory) -> None:
    assert QueueKind.NOTIFICATIONS not in last(story)


# -- dead letters -----------------------------------------------------------------------------------------------------


def test_a_failed_application_is_a_dead_letter_with_the_message_that_began_it() -> None:
    story = STARTED.attempted().retry_scheduled().started().attempted().exhausted().failed()
    message = last(story)[QueueKind.DEAD_LETTERS]
    content = body(message)
    original = content.pop("original_message")
    assert content == {
        "application_id": APPLICATION_ID.hex,
        "error_message": "Max retries exceeded: 503 Service Unavailable",
        "failed_at": "2026-01-01T12:00:08.000Z",
        "attempts": 2,
        "error_type": "PortalBusyError",
        "correlation_id": "correlation-1",
    }
    queued = story.application.queued_version
    assert original == body(last(replace(story, events=story.events[:queued]))[QueueKind.PROCESSING])
    assert message.dead_letter == DeadLetterKind("work", "PortalBusyError")


def test_success_and_cancellation_are_no_dead_letters() -> None:
    for story in (STARTED.attempted().applied().succeeded(), SUBMITTED.cancelled()):
        assert QueueKind.DEAD_LETTERS not in last(story)


@pytest.mark.parametrize(
    ("raw", "original"),
    [
        (b"not json", {"raw": "not json"}),
        (b"\xff\xfe", {"raw_base64": base64.b64encode(b"\xff\xfe").decode()}),
        (b"x" * 70_000, {"raw": "x" * 65_536}),
    ],
)
def test_an_unreadable_message_is_a_dead_letter_with_its_bytes(raw: bytes, original: dict[str, str]) -> None:
    [message] = messages_of(rejected(raw), NAMES)
    assert message.queue is QueueKind.DEAD_LETTERS
    assert body(message) == {
        "application_id": None,
        "error_message": "Not JSON",
        "original_message": original,
        "failed_at": "2026-01-01T12:00:00.000Z",
        "attempts": 0,
        "error_type": "JSONDecodeError",
    }
    assert message.dead_letter == DeadLetterKind("their_queue", "JSONDecodeError")


def rejected(raw: bytes) -> RecordedEvent:
    event = MessageRejected(
        queue="their_queue",
        message_id=None,
        application_id=None,
        reason="Not JSON",
        error_type="JSONDecodeError",
        **raw_parts(raw),
    )
    return RecordedEvent(UUID(int=5), 1, event, Metadata(UUID(int=6), START, Cause("worker:w")), 1)


# -- every event ------------------------------------------------------------------------------------------------------


def test_every_event_type_is_handled_or_named_as_ignored() -> None:
    story = ENDED.retried().started().attempted().given_back().requeued().cancelled()
    events: dict[str, Event] = {event.NAME: event for event in (*story, *STARTED.attempted().applied().succeeded())}
    batch = a_batch()
    for event in (
        BatchSubmitted(application_ids=batch.events[0].application_ids),  # type: ignore[attr-defined]
        BatchCancelled(cancelled=(), retries=0),
        KeyUsed(content_hash="", status=200, body=""),
        StreamRetried(read_model="status", stream="", position=1),
        EventSkipped(read_model="status", stream="", position=1, reason=""),
        rejected(b"").event,
    ):
        events[event.NAME] = event
    assert set(events) == {name for name in Event.BY_NAME if not name.startswith("test")}
    for event in events.values():
        messages_of(replace(SUBMITTED.recorded()[0], event=event), NAMES)


def test_an_unknown_event_does_not_vanish() -> None:
    class Surprise(Event, name="test.messages.surprise"):
        pass

    with pytest.raises(TypeError, match="do not know"):
        messages_of(replace(SUBMITTED.recorded()[0], event=Surprise()), NAMES)


# -- reading work -----------------------------------------------------------------------------------------------------


def test_what_was_queued_can_be_read() -> None:
    work = read_work(last(SUBMITTED)[QueueKind.PROCESSING].body)
    assert work == Work(APPLICATION_ID.hex, "ada", 1, "correlation-1")
    assert work.stream_id == APPLICATION_ID


def test_unknown_fields_are_ignored_and_optional_ones_may_be_missing_or_odd() -> None:
    content = b'{"application_id": "a1b2c3d4", "user_id": "7", "version": "x", "correlation_id": "a b", "more": [1]}'
    assert read_work(content) == Work("a1b2c3d4", "7")


@pytest.mark.parametrize(
    ("raw", "error_type", "application_id"),
    [
        (b"not json", "JSONDecodeError", None),
        (b"\xff", "JSONDecodeError", None),
        (b"", "JSONDecodeError", None),
        (b"[" * 100_000, "JSONDecodeError", None),
        (b"[]", "TypeError", None),
        (b'"text"', "TypeError", None),
        (b"{}", "KeyError", None),
        (b'{"application_id": "a1b2c3d4"}', "KeyError", "a1b2c3d4"),
        (b'{"user_id": "7"}', "KeyError", None),
        (b'{"application_id": 7, "user_id": "7"}', "KeyError", None),
        (b'{"application_id": "", "user_id": "7"}', "KeyError", None),
        (b'{"application_id": "a1b2c3d4", "user_id": null}', "KeyError", "a1b2c3d4"),
    ],
)
def test_what_cannot_be_read_says_why(raw: bytes, error_type: str, application_id: str | None) -> None:
    with pytest.raises(UnreadableMessage) as refused:
        read_work(raw)
    assert (refused.value.error_type, refused.value.application_id) == (error_type, application_id)


@pytest.mark.parametrize("id", ["x" * 32, "AB" * 16, str(APPLICATION_ID), "{" + APPLICATION_ID.hex + "}"])
def test_an_id_that_is_not_ours_has_no_stream(id: str) -> None:
    assert Work(id, "ada").stream_id is None


def test_only_ids_that_every_part_accepts_go_on() -> None:
    assert acceptable_correlation_id("a-1.b_2:c/3+d=e@f") == "a-1.b_2:c/3+d=e@f"
    assert [acceptable_correlation_id(text) for text in (None, "", "a b", "x" * 129, "a\n")] == [None] * 5
    assert acceptable_traceparent(CAUSE.traceparent) == CAUSE.traceparent
    assert [acceptable_traceparent(value) for value in (None, 7, "00-xyz", b"00")] == [None] * 4
