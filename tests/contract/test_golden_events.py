"""What a stored event looks like is a public contract: each golden file is one that a release has written (design 4).

A file is never changed. A new form is a new version, with an upcast from the one before and a file of its own: add what
it reads as to EXPECTED and run `python -m tests.contract.test_golden_events`, which writes only what is missing.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from eventsourcing.persistence import StoredEvent

from domain.application import Application
from domain.application_events import (
    ApplicationCancelled,
    ApplicationFailed,
    ApplicationSubmitted,
    ApplicationSucceeded,
    Brief,
    Delivery,
    DocumentsWritten,
    Failure,
    JobApplied,
    JobAttempted,
    JobFailed,
    JobWait,
    ProcessingStarted,
    Reopened,
    Requeued,
    RetryRequested,
    RetryScheduled,
    Status,
)
from domain.batch import Batch, BatchCancelled, BatchSubmitted
from domain.errors import NewerEvent
from domain.event import Cause, Event, Metadata, Owner, RecordedEvent
from domain.idempotency import IdempotencyKey, KeyUsed
from domain.job import CvReference, Documents, Job
from domain.parked_decisions import EventSkipped, StreamRetried
from domain.rejected_message import MessageRejected
from domain.upcasts import UPCASTS
from infra.mapper import EventMapper

GOLDEN = Path(__file__).parent / "golden_events"
MAPPER = EventMapper()

STREAM = UUID("0199a0b1-c2d3-7e4f-8a5b-6c7d8e9f0a1b")
BATCH = UUID("0199a0b1-c2d3-7e4f-8a5b-000000000001")
AT = datetime(2026, 2, 27, 10, 0, 0, 123_000, tzinfo=UTC)
FULL = Metadata(
    event_id=UUID("0199a0b1-c2d3-7e4f-8a5b-00000000000e"),
    at=AT,
    cause=Cause(
        actor="user:ada",
        correlation_id="trace-456",
        causation_id="0199a0b1-c2d3-7e4f-8a5b-00000000000c",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    owner=Owner(user_id="ada", job_count=2, submitted_at=AT, batch_id=BATCH, batch_index=0),
)
BY_WORKER = replace(FULL, cause=Cause("worker:w-1"), owner=Owner("ada", 2, AT))
OF_NOBODY = replace(FULL, cause=Cause("worker:w-1", causation_id="delivery-7"), owner=None)
BY_OPERATOR = replace(FULL, cause=Cause("operator:grace"), owner=None)

JOB = Job(
    id="job-1",
    portal="LinkedIn",
    title="Bäcker 🥐",
    workplace_type="on site",
    posted_date="2026-02-01",
    job_state="open",
    description="Bread.\nRolls.",
    apply_link="https://example.org/1",
    company_name="Crumb & Co",
    location="Wien",
    short_description="Bread",
    field="food",
    company_logo="https://example.org/1.png",
    experience="2 years",
    skills_required=("kneading", "baking"),
)
DOCUMENTS = Documents(
    resume_optimized={"name": "Ada", "skills": ["kneading"], "years": 2, "rate": 0.5, "extra": None, "ok": True},
    cover_letter={"paragraphs": ["Dear Crumb & Co, …"]},
)
BRIEF = Brief(cv_id="cv-1", style="modern")

EXPECTED: dict[tuple[str, int], tuple[Event, Metadata]] = {
    ("application.submitted", 1): (
        ApplicationSubmitted(
            jobs=(JOB, Job()), style="modern", cv=CvReference(id="cv-1", size=123_456, sha256="ab" * 32)
        ),
        FULL,
    ),
    ("application.processing_started", 1): (ProcessingStarted(start=1, previous=Status.PENDING), BY_WORKER),
    ("application.documents_written", 1): (DocumentsWritten(position=1, round=1, documents=DOCUMENTS), BY_WORKER),
    ("application.job_attempted", 1): (
        JobAttempted(position=1, start=1, round=1, portal="linkedin", delivery=Delivery.AT_MOST_ONCE),
        BY_WORKER,
    ),
    ("application.job_applied", 1): (
        JobApplied(position=2, reference="SBX-1", was_failed=False, job=Job(), documents=Documents()),
        BY_WORKER,
    ),
    ("application.job_failed", 1): (
        JobFailed(
            position=1,
            failure=Failure.UNKNOWN,
            reason="Outcome unknown: no answer",
            error_type="TimeoutError",
            job=JOB,
            documents=DOCUMENTS,
        ),
        BY_WORKER,
    ),
    ("application.retry_scheduled", 1): (
        RetryScheduled(
            start=1,
            retry=1,
            counted=True,
            due_at=AT.replace(second=1),
            waiting=(
                JobWait(position=1, reason="503 Service Unavailable", error_type="PortalBusyError"),
                JobWait(position=2, reason="it rests", error_type="PortalResting", resting_since=AT),
            ),
            brief=BRIEF,
        ),
        BY_WORKER,
    ),
    ("application.succeeded", 1): (ApplicationSucceeded(previous=Status.PENDING), BY_WORKER),
    ("application.failed", 1): (
        ApplicationFailed(
            reason="Outcome unknown: no answer",
            error_type="TimeoutError",
            attempts=2,
            queued_version=5,
            brief=BRIEF,
        ),
        BY_WORKER,
    ),
    ("application.retry_requested", 1): (
        RetryRequested(reopened=(Reopened(position=1, portal="LinkedIn"), Reopened(position=2)), brief=Brief()),
        FULL,
    ),
    ("application.requeued", 1): (Requeued(reason="Its message seems to be lost", brief=BRIEF), BY_WORKER),
    ("application.cancelled", 1): (ApplicationCancelled(reason="Cancelled by user"), FULL),
    ("batch.submitted", 1): (BatchSubmitted(application_ids=(STREAM, BATCH)), FULL),
    ("batch.cancelled", 1): (BatchCancelled(cancelled=(STREAM,), retries=1), FULL),
    ("idempotency.key_used", 1): (
        KeyUsed(content_hash="cd" * 32, status=200, body='{"application_id":"x","title":"Bäcker"}'),
        FULL,
    ),
    ("message.rejected", 1): (
        MessageRejected(
            queue="application_processing_queue",
            message_id="m-1",
            application_id=None,
            reason="Not JSON",
            error_type="JSONDecodeError",
            raw="not json \x00",
            raw_base64=None,
        ),
        OF_NOBODY,
    ),
    ("read_model.stream_retried", 1): (
        StreamRetried(read_model="status", stream=STREAM.hex, position=7),
        BY_OPERATOR,
    ),
    ("read_model.event_skipped", 1): (
        EventSkipped(read_model="updates", stream=STREAM.hex, position=7, reason="Bäcker: never meant"),
        BY_OPERATOR,
    ),
}


def golden_file(name: str, version: int) -> Path:
    return GOLDEN / f"{name}.v{version}.json"


def of_this_release() -> Sequence[type[Event]]:
    """The event types of the code; tests may have registered others."""
    return [cls for cls in Event.BY_NAME.values() if cls.__module__.startswith("domain.")]


def read(content: dict[str, Any]) -> RecordedEvent:
    """Through the mapper, as if a golden file's content had stood in the log."""
    state = {key: value for key, value in content.items() if key != "name"}
    return MAPPER.to_recorded_event(StoredEvent(STREAM, 3, content["name"], orjson.dumps(state)), position=9)


def written(recorded: RecordedEvent) -> dict[str, Any]:
    stored = MAPPER.to_stored_event(recorded)
    return {"name": stored.topic, **orjson.loads(stored.state)}


def expected(name: str, version: int) -> RecordedEvent:
    event, metadata = EXPECTED[name, version]
    return RecordedEvent(STREAM, 3, event, metadata, position=9)


def content_of(name: str, version: int) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(golden_file(name, version).read_bytes())
    return content


EVERY = pytest.mark.parametrize(("name", "version"), EXPECTED, ids=str)


# -- what was ever written can be read --------------------------------------------------------------------------------


def test_every_event_in_every_version_has_a_golden_file() -> None:
    released = {(cls.NAME, version) for cls in of_this_release() for version in range(1, cls.VERSION + 1)}
    assert {file.name for file in GOLDEN.iterdir()} == {golden_file(*one).name for one in released}
    assert set(EXPECTED) == released


def test_every_older_version_has_an_upcast_and_no_other_has() -> None:
    older = {(cls.NAME, version) for cls in of_this_release() for version in range(1, cls.VERSION)}
    assert set(UPCASTS) == older


@EVERY
def test_what_a_release_wrote_reads_as_the_event_that_it_was(name: str, version: int) -> None:
    assert read(content_of(name, version)) == expected(name, version)


@EVERY
def test_fields_of_a_newer_release_are_ignored(name: str, version: int) -> None:
    content = content_of(name, version)
    content["data"], content["metadata"] = with_more(content["data"]), with_more(content["metadata"])
    content["from_a_newer_release"] = True
    assert read(content) == expected(name, version)


def with_more(value: Any) -> Any:
    """With a field more in every object, but for the documents, whose form is the writer's own."""
    match value:
        case dict():
            own = ("resume_optimized", "cover_letter")
            more = {key: one if key in own else with_more(one) for key, one in value.items()}
            return {"from_a_newer_release": {"x": 1}, **more}
        case list():
            return [with_more(one) for one in value]
        case _:
            return value


def test_the_life_of_an_application_folds_from_what_was_written() -> None:
    life = [
        "submitted", "processing_started", "documents_written", "job_attempted", "job_applied", "retry_scheduled",
        "requeued", "job_failed", "failed", "retry_requested",
    ]  # fmt: skip
    events = [read(content_of(f"application.{name}", 1)).event for name in life]
    application = Application.fold(STREAM, events)
    assert (application.status, application.version, application.queued_version) == (Status.PENDING, 10, 10)
    assert [position for position, _ in application.open_jobs] == [1]
    assert (application.starts, application.retries_requested, application.failed_version) == (1, 1, 9)
    assert (application.jobs[0].job, application.jobs[0].documents) == (JOB, DOCUMENTS)
    ended = {"cancelled": Status.CANCELLED, "succeeded": Status.SUCCESS}
    for name, status in ended.items():
        assert application.after(read(content_of(f"application.{name}", 1)).event).status is status


def test_a_batch_and_a_key_fold_from_what_was_written() -> None:
    events = [read(content_of(name, 1)).event for name in ("batch.submitted", "batch.cancelled")]
    assert Batch.fold(BATCH, events) == Batch(BATCH, 2, (STREAM, BATCH), cancelled_at_retries=1)
    key = IdempotencyKey.fold(STREAM, [read(content_of("idempotency.key_used", 1))])
    assert (key.version, key.used_at, key.position) == (3, AT, 9)


# -- what is written now is what was released -------------------------------------------------------------------------


@pytest.mark.parametrize("cls", of_this_release(), ids=lambda cls: cls.NAME)
def test_a_changed_form_needs_a_new_version(cls: type[Event]) -> None:
    """Byte by byte, so that also the order of the fields stays."""
    content = content_of(cls.NAME, cls.VERSION)
    assert orjson.dumps(written(expected(cls.NAME, cls.VERSION))) == orjson.dumps(content)


@pytest.mark.parametrize("cls", of_this_release(), ids=lambda cls: cls.NAME)
def test_a_golden_file_shows_every_field(cls: type[Event]) -> None:
    assert set(content_of(cls.NAME, cls.VERSION)["data"]) == set(cls.model_fields)


# -- versions ---------------------------------------------------------------------------------------------------------


def test_an_unknown_event_halts_its_reader() -> None:
    content = {**content_of("application.cancelled", 1), "name": "application.archived"}
    with pytest.raises(NewerEvent, match=r"application\.archived version 1"):
        read(content)


@pytest.mark.parametrize("cls", of_this_release(), ids=lambda cls: cls.NAME)
def test_a_newer_version_halts_its_reader(cls: type[Event]) -> None:
    newer = {**content_of(cls.NAME, cls.VERSION), "v": cls.VERSION + 1}
    with pytest.raises(NewerEvent, match=f"version {cls.VERSION + 1}"):
        read(newer)


@pytest.fixture
def promoted(monkeypatch: pytest.MonkeyPatch) -> type[Event]:
    """An event type of tests, in its third version; the registry is as before afterwards."""
    monkeypatch.setattr(Event, "BY_NAME", dict(Event.BY_NAME))

    class Promoted(Event, name="test.promoted", version=3):
        title: str
        level: int
        by: str

    monkeypatch.setitem(UPCASTS, ("test.promoted", 1), lambda data: {"title": data["job"], "level": 1})
    monkeypatch.setitem(UPCASTS, ("test.promoted", 2), lambda data: {**data, "level": data["level"] * 10, "by": "?"})
    return Promoted


@pytest.mark.parametrize(
    ("version", "data", "level"),
    [
        (1, {"job": "Baker"}, 10),
        (2, {"title": "Baker", "level": 2}, 20),
        (3, {"title": "Baker", "level": 2, "by": "?"}, 2),
    ],
)
def test_an_older_version_is_raised_step_by_step(
    promoted: type[Event], version: int, data: dict[str, Any], level: int
) -> None:
    metadata = content_of("application.cancelled", 1)["metadata"]
    event = read({"name": "test.promoted", "v": version, "data": data, "metadata": metadata}).event
    assert event == promoted.model_validate({"title": "Baker", "level": level, "by": "?"})


def test_what_was_raised_is_written_in_the_newest_version(promoted: type[Event]) -> None:
    metadata = content_of("application.cancelled", 1)["metadata"]
    old = read({"name": "test.promoted", "v": 1, "data": {"job": "Baker"}, "metadata": metadata})
    assert written(old)["v"] == 3


def write_missing() -> None:
    for name, version in EXPECTED:
        file = golden_file(name, version)
        if not file.exists():
            content = orjson.dumps(written(expected(name, version)), option=orjson.OPT_INDENT_2)
            file.write_bytes(content + b"\n")


if __name__ == "__main__":
    write_missing()
