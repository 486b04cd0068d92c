"""What the `updates` read model keeps: the messages of the streams (contract http.md 12, 13)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.stream_messages import BatchUpdate, StatusUpdate
from domain.application_events import Status
from domain.batch import batch_status
from domain.event import Cause, RecordedEvent
from projections import batches, updates
from projections.read_model import Document
from projections.stored_updates import Update, UpdateId
from tests.builders import BATCH_ID, START, ApplicationStory, BatchStory, a_batch, an_application

ID = an_application().id.hex
ALONE = Cause("user:ada", "correlation-1")  # what a user does to one application: no event led to it

SUBMITTED = an_application().submitted(jobs=2)
FAILED = SUBMITTED.started().attempted(1, 2).refused(1, "Closed").applied(2).failed()


def in_a_log(*parts: Sequence[RecordedEvent]) -> list[RecordedEvent]:
    """One after the other."""
    return [replace(one, position=place) for place, one in enumerate((one for part in parts for one in part), 1)]


def docs_after(recorded: Iterable[RecordedEvent]) -> dict[str, Document]:
    docs: dict[str, Document] = {}
    for one in recorded:
        updates.apply(one, docs)
    return docs


def told(recorded: Iterable[RecordedEvent]) -> list[Update]:
    docs = docs_after(recorded)
    return [Update.of(docs[id]) for id in sorted(docs) if id < updates.BEYOND]


def statuses(story: ApplicationStory) -> list[tuple[str, str]]:
    return [(str(one.id), one.message["status"]) for one in told(story.recorded())]


# -- one application --------------------------------------------------------------------------------------------------


def test_a_submission_is_told_as_the_contract_has_it() -> None:
    [update] = told(SUBMITTED.recorded(position=7))
    assert (str(update.id), update.user_id, update.application_id) == ("7", "ada", ID)
    assert update.message == {
        "type": "status_update",
        "application_id": ID,
        "status": "pending",
        "timestamp": START,
        "job_count": 2,
    }


def test_every_change_of_the_status_is_told_and_nothing_else() -> None:
    assert statuses(FAILED) == [("1", "pending"), ("2", "processing"), (str(len(FAILED.events)), "failed")]
    assert [status for _, status in statuses(FAILED.retried().cancelled())][3:] == ["pending", "cancelled"]
    assert [status for _, status in statuses(FAILED.retried().started())][3:] == ["pending", "processing"]


def test_automatic_retries_and_a_worker_that_takes_over_are_no_change() -> None:
    story = SUBMITTED.started().attempted(1).retry_scheduled().started().attempted(1).requeued().started()
    assert [status for _, status in statuses(story)] == ["pending", "processing"]


def test_a_late_success_is_told() -> None:
    story = an_application().submitted().started().attempted(1).unknown().failed().applied(1).succeeded()
    assert [status for _, status in statuses(story)] == ["pending", "processing", "failed", "success"]


def test_a_reason_is_there_only_when_it_failed_or_was_cancelled() -> None:
    reasons = [one.message.get("error_reason", "absent") for one in told(FAILED.retried().cancelled().recorded())]
    assert reasons == ["absent", "absent", "Closed", "absent", "Cancelled by user"]


# -- batches ----------------------------------------------------------------------------------------------------------


def of_batch(recorded: Iterable[RecordedEvent]) -> list[tuple[str, str, int, int, int]]:
    """Id, status, and how many were processed, succeeded, failed."""
    messages = [(one.id, one.message) for one in told(recorded) if one.message["type"] == "batch_update"]
    return [(str(id), m["status"], m["processed"], m["succeeded"], m["failed"]) for id, m in messages]


def submission(batch: BatchStory) -> list[RecordedEvent]:
    """As it is appended: its items, then the batch."""
    return [*(one for item in batch.items for one in item.recorded()[:1]), *batch.recorded()[:1]]


def since(item: ApplicationStory, begun: ApplicationStory) -> Sequence[RecordedEvent]:
    return item.recorded()[len(begun.events) :]


def test_a_batch_is_told_once_when_it_is_created() -> None:
    recorded = in_a_log(submission(a_batch(3)))
    assert of_batch(recorded) == [("4", "pending", 0, 0, 0)]
    [update] = [one for one in told(recorded) if one.application_id is None]
    assert update.message == {
        "type": "batch_update",
        "batch_id": BATCH_ID.hex,
        "status": "pending",
        "total": 3,
        "processed": 0,
        "succeeded": 0,
        "failed": 0,
        "timestamp": START,
    }


def test_it_is_told_when_the_first_item_starts_and_as_each_ends() -> None:
    one, two = a_batch(2).items
    lives = [since(one.started(), one), since(two.started(), two)]
    first_ends = since(one.started().attempted().applied().succeeded(), one.started())
    second_ends = since(two.started().attempted().refused().failed(), two.started())
    recorded = in_a_log(submission(a_batch(2)), *lives, first_ends, second_ends)
    assert [told[1:] for told in of_batch(recorded)] == [
        ("pending", 0, 0, 0),
        ("processing", 0, 0, 0),
        ("processing", 1, 1, 0),
        ("partial", 2, 1, 1),
    ]


def test_what_is_told_of_a_batch_comes_after_what_is_told_of_its_item() -> None:
    [item] = a_batch(1).items
    recorded = in_a_log(submission(a_batch(1)), since(item.started(), item))
    assert [(str(one.id), one.message["type"]) for one in told(recorded)] == [
        ("1", "status_update"),
        ("2", "batch_update"),
        ("3", "status_update"),
        ("3.1", "batch_update"),
    ]


def test_cancelled_as_a_whole_it_is_told_once() -> None:
    batch = a_batch(3)
    taken_back = [one for item in batch.items for one in since(item.cancelled(), item)]
    cancelled = batch.cancelled(*(item.id for item in batch.items)).recorded()[1:]
    recorded = in_a_log(submission(batch), taken_back, cancelled)
    assert of_batch(recorded) == [("4", "pending", 0, 0, 0), ("8", "cancelled", 3, 0, 0)]
    assert [one.message["status"] for one in told(recorded)].count("cancelled") == 4


def test_an_item_that_its_user_cancels_alone_is_an_item_that_ended() -> None:
    batch = a_batch(2)
    one = replace(batch.items[0], cause=ALONE)
    recorded = in_a_log(submission(batch), since(one.cancelled(), one))
    assert of_batch(recorded)[1:] == [("4.1", "pending", 1, 0, 0)]


def test_a_retried_item_takes_its_batch_back_to_processing() -> None:
    [item] = a_batch(1).items
    failed = item.started().attempted().refused().failed()
    recorded = in_a_log(submission(a_batch(1)), since(failed.retried().started(), item))
    assert [told[1:] for told in of_batch(recorded)] == [
        ("pending", 0, 0, 0),
        ("processing", 0, 0, 0),
        ("failed", 1, 0, 1),
        ("processing", 0, 0, 0),
    ]


def test_a_batch_whose_own_event_waits_for_an_operator_holds_up_no_item() -> None:
    """Freed, its event comes at the position of his decision: then it is told as it is by then."""
    batch, [one, two] = a_batch(2), a_batch(2).items
    *items, submitted = submission(batch)
    recorded = in_a_log(items, since(one.started(), one), [submitted], since(two.started(), two))
    assert of_batch(recorded) == [("4", "processing", 0, 0, 0)]
    assert [m.message["status"] for m in told(recorded) if m.application_id] == ["pending"] * 2 + ["processing"] * 2


# -- all of it --------------------------------------------------------------------------------------------------------

LIVES = {
    "pending": lambda story: story,
    "started": lambda story: story.started(),
    "paused": lambda story: story.started().attempted().retry_scheduled().started(),
    "applied": lambda story: story.started().attempted().applied().succeeded(),
    "failed": lambda story: story.started().attempted().refused().failed(),
    "cancelled": lambda story: story.cancelled(),
    "retried": lambda story: story.started().attempted().refused().failed().retried().started(),
    "late": lambda story: story.started().attempted().unknown().failed().applied().succeeded(),
}


@st.composite
def logs(draw: st.DrawFn) -> list[RecordedEvent]:
    """A batch, and what happens to its items, in any order that keeps each item's own."""
    names = draw(st.lists(st.sampled_from(sorted(LIVES)), min_size=1, max_size=5))
    batch = a_batch(len(names))
    items = [replace(item, cause=ALONE) for item in batch.items]
    left = [list(since(LIVES[name](item), item)) for name, item in zip(names, items, strict=True)]
    mixed: list[RecordedEvent] = []
    while any(left):
        some = draw(st.sampled_from([life for life in left if life]))
        mixed.append(some.pop(0))
    return in_a_log(submission(batch), mixed)


@given(logs())
def test_a_message_says_what_the_read_models_show_at_its_position(recorded: list[RecordedEvent]) -> None:
    shown: dict[str, Document] = {}
    docs: dict[str, Document] = {}
    before: dict[str, Any] | None = None
    for one in recorded:
        batches.apply(one, shown)
        earlier = set(docs)
        updates.apply(one, docs)
        new = [Update.of(docs[id]).message for id in sorted(docs.keys() - earlier) if id < updates.BEYOND]
        now = shown_of_the_batch(shown)
        expected = [] if now == before else [now]
        assert [{name: m[name] for name in now} for m in new if now and m["type"] == "batch_update"] == expected
        before = now


def shown_of_the_batch(shown: dict[str, Document]) -> dict[str, Any] | None:
    if not shown:
        return None
    [doc] = shown.values()
    items = [Status(item["status"]) for item in doc["items"]]
    succeeded, failed, cancelled = map(items.count, (Status.SUCCESS, Status.FAILED, Status.CANCELLED))
    return {
        "status": batch_status(items, started=doc["started"]).value,
        "processed": succeeded + failed + cancelled,
        "succeeded": succeeded,
        "failed": failed,
    }


@given(logs())
def test_a_message_never_changes_and_ids_sort_as_they_come(recorded: list[RecordedEvent]) -> None:
    docs: dict[str, Document] = {}
    seen: dict[str, str] = {}
    for one in recorded:
        updates.apply(one, docs)
        now = {id: repr(doc) for id, doc in docs.items() if id < updates.BEYOND}
        assert seen.items() <= now.items()
        assert all(id > max(seen, default="") for id in now.keys() - seen.keys())
        assert sorted(now.keys() - seen.keys()) == [id for id in updates.touches(one) if id in now]
        seen = now


@given(logs())
def test_messages_have_the_fields_of_the_described_ones(recorded: list[RecordedEvent]) -> None:
    for one in told(recorded):
        model = StatusUpdate if one.application_id else BatchUpdate
        described = model.model_validate(one.message)
        assert described.model_dump(exclude_unset=True).keys() == one.message.keys()


# -- ids --------------------------------------------------------------------------------------------------------------


def test_ids_are_ordered_by_position_and_number() -> None:
    ids = [UpdateId(9), UpdateId(9, 1), UpdateId(9, 2), UpdateId(9, 10), UpdateId.last_of(9), UpdateId(10)]
    assert ids == sorted(ids)
    assert [id.stored for id in ids] == sorted(id.stored for id in ids)
    assert [UpdateId.of_stored(id.stored) for id in ids] == ids
    assert list(map(str, ids[:4])) == ["9", "9.1", "9.2", "9.10"]


def test_the_ids_of_other_documents_are_beyond_those_of_messages() -> None:
    for other in ("batch:1", "checkpoint", "parked:1"):
        assert UpdateId.last_of(10**18 - 1).stored < updates.BEYOND < other
