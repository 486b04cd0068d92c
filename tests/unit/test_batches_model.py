"""What the `batches` read model shows, whatever happens to the items."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from domain.application_events import Status
from domain.event import RecordedEvent
from projections import batches
from projections.entries import order_of
from projections.read_model import Document
from tests.builders import BATCH_ID, START, ApplicationStory, a_batch

Live = tuple[Status, str | None]
LIVES = {
    "pending": lambda story: story,
    "started": lambda story: story.started(),
    "applied": lambda story: story.started().attempted().applied().succeeded(),
    "failed": lambda story: story.started().attempted().refused().failed(),
    "cancelled": lambda story: story.cancelled(),
    "retried": lambda story: story.started().attempted().refused().failed().retried(),
    "late": lambda story: story.started().attempted().unknown().failed().applied().succeeded(),
}


def shown(*recorded: RecordedEvent) -> Document:
    docs: dict[str, Document] = {}
    for one in recorded:
        touched = set(batches.touches(one))
        before = {id: repr(doc) for id, doc in docs.items()}
        batches.apply(one, docs)
        changed = {id for id, doc in docs.items() if before.get(id) != repr(doc)}
        assert changed <= touched, "what it does not tell beforehand would not be stored"
    return docs[BATCH_ID.hex]


def events_of(items: Sequence[ApplicationStory]) -> list[RecordedEvent]:
    """The batch, then all that happens to its items."""
    return [*a_batch(len(items)).recorded(), *(one for item in items for one in item.recorded()[1:])]


@given(st.lists(st.sampled_from(sorted(LIVES)), min_size=1, max_size=6))
def test_each_item_shows_what_its_application_is(names: list[str]) -> None:
    items = [LIVES[name](item) for name, item in zip(names, a_batch(len(names)).items, strict=True)]
    doc = shown(*events_of(items))
    assert [item["application_id"] for item in doc["items"]] == [item.id.hex for item in items]
    assert [item["status"] for item in doc["items"]] == [item.application.status for item in items]
    assert {one: count for one, count in doc["counts"].items() if count} == Counter(
        one["status"] for one in doc["items"]
    )
    assert doc["started"] == any(item.application.starts for item in items)
    done = all(item.application.ended for item in items)
    assert (doc["completed_at"] is not None) == done


def test_it_begins_with_every_item_pending() -> None:
    doc = shown(*a_batch(2).recorded())
    items: list[dict[str, Any]] = doc.pop("items")
    assert doc == {
        "_id": BATCH_ID.hex,
        "batch_id": BATCH_ID.hex,
        "user_id": "ada",
        "order": order_of(START, BATCH_ID, 0),
        "created_at": START,
        "completed_at": None,
        "started": False,
        "counts": {"pending": 2, "processing": 0, "success": 0, "failed": 0, "cancelled": 0},
    }
    assert [(item["status"], item["error"]) for item in items] == [("pending", None)] * 2


def test_a_late_result_leaves_the_time_of_completion() -> None:
    [item] = a_batch(1).items
    failed = item.started().attempted().unknown().failed()
    before = shown(*events_of([failed]))
    after = shown(*events_of([failed.applied().succeeded()]))
    assert (before["items"][0]["status"], after["items"][0]["status"]) == ("failed", "success")
    assert after["completed_at"] == before["completed_at"] == failed.recorded()[-1].metadata.at
    assert after["items"][0]["error"] is None


def test_an_application_alone_is_in_no_batch() -> None:
    [item] = a_batch(1).items
    alone = replace(item.started(), owner=replace(item.recorded()[0].owner, batch_id=None, batch_index=None))
    assert [id for one in alone.recorded() for id in batches.touches(one)] == []
