"""Events to stored bytes and back, whatever they hold. Their published forms: contract/test_golden_events.py."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.application_events import ApplicationSubmitted, Brief, JobFailed, JobWait, RetryScheduled
from domain.errors import NewerEvent
from domain.event import Cause, Event, Metadata, Owner, RecordedEvent
from domain.job import CvReference, Documents, Job
from infra.mapper import EventMapper
from tests.builders import Story, a_batch
from tests.stories import ATTEMPTED, SUBMITTED, TWO_STARTED

MAPPER = EventMapper()

texts = st.text(max_size=20)
maybe = st.none() | texts
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.integers(0, 10**13).map(lambda ms: EPOCH + timedelta(milliseconds=ms))
numbers = st.integers(-(2**53), 2**53)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
written = st.none() | st.dictionaries(texts, anything, max_size=3)

skills = st.none() | st.lists(texts, max_size=3).map(tuple)
jobs = st.builds(Job, title=maybe, description=maybe, skills_required=skills)
documents = st.builds(Documents, resume_optimized=written, cover_letter=written)
briefs = st.builds(Brief, cv_id=maybe, style=maybe)
waits = st.builds(
    JobWait, position=st.integers(1, 500), reason=texts, error_type=texts, resting_since=st.none() | moments
)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        ApplicationSubmitted,
        jobs=st.lists(jobs, min_size=1, max_size=3).map(tuple),
        style=maybe,
        cv=st.none() | st.builds(CvReference, id=texts, size=numbers, sha256=texts),
    ),
    st.builds(JobFailed, position=numbers, reason=texts, error_type=texts, job=jobs, documents=documents),
    st.builds(
        RetryScheduled,
        start=numbers,
        retry=numbers,
        due_at=moments,
        waiting=st.lists(waits, max_size=3).map(tuple),
        brief=briefs,
    ),
)
owners = st.builds(
    Owner,
    user_id=texts,
    job_count=numbers,
    submitted_at=moments,
    batch_id=st.none() | st.uuids(),
    batch_index=st.none() | st.integers(0, 99),
)
causes = st.builds(Cause, actor=texts, correlation_id=maybe, causation_id=maybe, traceparent=maybe)
metadata = st.builds(Metadata, event_id=st.uuids(), at=moments, cause=causes, owner=st.none() | owners)
records = st.builds(
    RecordedEvent,
    stream_id=st.uuids(),
    version=st.integers(1, 2**31),
    event=events,
    metadata=metadata,
    position=st.integers(1, 2**53),
)


def state_of(recorded: RecordedEvent) -> Any:
    return orjson.loads(MAPPER.to_stored_event(recorded).state)


@given(records)
def test_an_event_reads_back_as_it_was_written(recorded: RecordedEvent) -> None:
    stored = MAPPER.to_stored_event(recorded)
    assert MAPPER.to_recorded_event(stored, recorded.position) == recorded


@given(records)
def test_the_same_event_is_always_the_same_bytes(recorded: RecordedEvent) -> None:
    stored = MAPPER.to_stored_event(recorded)
    again = MAPPER.to_stored_event(MAPPER.to_recorded_event(stored, 1))
    assert again.state == stored.state


@pytest.mark.parametrize(
    "story",
    [ATTEMPTED.refused().failed().retried(), TWO_STARTED.attempted_blind(1).retry_scheduled().requeued(), a_batch()],
)
def test_a_story_reads_back(story: Story) -> None:
    read = [MAPPER.to_recorded_event(MAPPER.to_stored_event(one), one.position) for one in story.recorded()]
    assert read == story.recorded()


def test_an_event_is_stored_under_its_name_and_never_a_modules_path() -> None:
    [recorded] = SUBMITTED.recorded()
    stored = MAPPER.to_stored_event(recorded)
    assert (stored.topic, stored.originator_id, stored.originator_version) == (
        "application.submitted",
        recorded.stream_id,
        1,
    )
    assert b"domain." not in stored.state
    assert set(orjson.loads(stored.state)) == {"v", "data", "metadata"}


def test_a_place_in_the_log_is_no_part_of_the_event() -> None:
    stored = MAPPER.to_stored_event(SUBMITTED.recorded(position=1)[0])
    assert stored.state == MAPPER.to_stored_event(SUBMITTED.recorded(position=77)[0]).state
    assert MAPPER.to_recorded_event(stored, 77).position == 77


def test_times_keep_their_milliseconds_and_are_utc() -> None:
    [recorded] = SUBMITTED.recorded()
    at = datetime(2026, 1, 1, 12, 0, 0, 7_000, tzinfo=UTC)
    shifted = RecordedEvent(
        recorded.stream_id, 1, recorded.event, Metadata(UUID(int=1), at, Cause("user:ada"), recorded.owner)
    )
    assert state_of(shifted)["metadata"]["at"] == "2026-01-01T12:00:00.007000Z"
    read = MAPPER.to_recorded_event(MAPPER.to_stored_event(shifted), 1).metadata.at
    assert (read, read.utcoffset()) == (at, timedelta(0))


@given(records)
def test_the_id_of_an_event_is_found_in_its_bytes(recorded: RecordedEvent) -> None:
    """Also in those of a newer release: a lost commit is recognised by it."""
    stored = MAPPER.to_stored_event(recorded)
    assert MAPPER.event_id(stored.state) == recorded.metadata.event_id
    newer = orjson.dumps({**orjson.loads(stored.state), "v": 99})
    assert MAPPER.event_id(newer) == recorded.metadata.event_id


def test_the_line_of_a_newer_event_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ApplicationSubmitted, "VERSION", 2)
    stored = MAPPER.to_stored_event(SUBMITTED.recorded()[0])
    monkeypatch.undo()
    with pytest.raises(NewerEvent, match=r"application\.submitted version 2"):
        MAPPER.to_recorded_event(stored, 1)


def test_two_events_cannot_have_one_name() -> None:
    with pytest.raises(TypeError, match=r"application\.submitted"):

        class Another(Event, name="application.submitted"):
            pass

    assert Event.BY_NAME["application.submitted"] is ApplicationSubmitted


@pytest.mark.parametrize("change", [{"reason": "other"}, {"nothing": 1}])
def test_an_event_cannot_be_changed(change: dict[str, Any]) -> None:
    [event] = SUBMITTED
    for name, value in change.items():
        with pytest.raises(ValidationError):
            setattr(event, name, value)


def test_an_event_that_concerns_nobody_has_no_owner() -> None:
    nobodys = RecordedEvent(UUID(int=1), 1, next(iter(SUBMITTED)), Metadata(UUID(int=2), EPOCH, Cause("worker:w")))
    read = MAPPER.to_recorded_event(MAPPER.to_stored_event(nobodys), 1)
    assert read.metadata.owner is None
    with pytest.raises(TypeError):
        _ = read.owner
