"""What the relay keeps beside the log, on both kinds of database."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from domain.ports import Claim
from infra.event_log import EventStore, open_event_log
from infra.messages import DeadLetterKind, Message, QueueKind
from infra.relay_store import LEASE, LeaseLost, Progress, RelayStore, Totals, create_tables, read_totals
from tests.builders import START

OURS = Claim(LEASE, "relay-1", 30.0)
POSITIONS = {QueueKind.PROCESSING: 7, QueueKind.NOTIFICATIONS: 9, QueueKind.DEAD_LETTERS: 9}
NOW = START.timestamp()


@pytest.fixture
async def event_store(event_store_url: str) -> AsyncIterator[EventStore]:
    async with open_event_log(event_store_url) as event_store:
        await create_tables(event_store.database)
        yield event_store


@pytest.fixture
async def store(event_store: EventStore) -> RelayStore:
    await event_store.claims.take(OURS)
    return RelayStore(event_store.database, OURS.holder)


def a_message(id: str, seconds: float = 60) -> Message:
    due_at = START + timedelta(seconds=seconds)
    return Message(QueueKind.PROCESSING, id, '{"user_id": "Ådä"}'.encode(), "c-1", "00-trace", due_at)


def progress(
    positions: dict[QueueKind, int] | None = None,
    keep: tuple[Message, ...] = (),
    published: tuple[str, ...] = (),
    totals: Totals | None = None,
) -> Progress:
    return Progress(positions or {}, keep, published, totals or Totals())


async def test_a_new_relay_begins_at_the_beginning(store: RelayStore) -> None:
    kept = await store.load()
    assert kept.checkpoints == dict.fromkeys(QueueKind, 0)
    assert (kept.totals, kept.next_due) == (Totals(), None)


async def test_what_was_saved_is_found(store: RelayStore) -> None:
    totals = Totals({"work": 3}, {"work": 1}, {DeadLetterKind("work", "TimeoutError"): 2})
    await store.save(progress(POSITIONS, (a_message("m-1"),), totals=totals))
    kept = await store.load()
    assert (kept.checkpoints, kept.totals) == (POSITIONS, totals)
    assert kept.next_due == NOW + 60


async def test_checkpoints_only_grow(store: RelayStore) -> None:
    await store.save(progress(POSITIONS))
    await store.save(progress({QueueKind.PROCESSING: 3, QueueKind.NOTIFICATIONS: 12}))
    kept = await store.load()
    assert kept.checkpoints == {**POSITIONS, QueueKind.NOTIFICATIONS: 12}


async def test_what_is_due_is_given_back_as_it_was_the_oldest_first(store: RelayStore) -> None:
    later, sooner, last = a_message("m-1", 20), a_message("m-2", 10), a_message("m-3", 30)
    assert await store.save(progress(keep=(later, sooner, last))) == NOW + 10
    assert await store.due(NOW + 9, 10) == []
    assert await store.due(NOW + 20, 10) == [sooner, later]
    assert await store.due(NOW + 99, 1) == [sooner]


async def test_a_row_goes_when_its_message_is_published(store: RelayStore) -> None:
    await store.save(progress(keep=(a_message("m-1", 10), a_message("m-2", 20))))
    assert await store.save(progress(published=("m-1",))) == NOW + 20
    assert [message.message_id for message in await store.due(NOW + 99, 10)] == ["m-2"]


async def test_saving_again_what_was_saved_changes_nothing(store: RelayStore) -> None:
    again = progress(POSITIONS, (a_message("m-1"),), totals=Totals({"work": 3}))
    await store.save(again)
    first = await store.load()
    await store.save(again)
    assert await store.load() == first


async def test_going_back_sets_only_what_is_further(store: RelayStore) -> None:
    await store.save(progress(POSITIONS))
    await store.rewind(9)
    assert (await store.load()).checkpoints == {**POSITIONS, QueueKind.NOTIFICATIONS: 8, QueueKind.DEAD_LETTERS: 8}
    await store.rewind(0)
    assert (await store.load()).checkpoints == dict.fromkeys(QueueKind, 0)


async def test_a_relay_without_the_lease_changes_nothing(event_store: EventStore, store: RelayStore) -> None:
    await store.save(progress(POSITIONS))
    await event_store.claims.release(OURS)
    for holder in ("relay-1", "relay-2"):
        other = RelayStore(event_store.database, holder)
        for call in (other.load, lambda: store.due(NOW, 1), lambda: store.rewind(1)):
            with pytest.raises(LeaseLost):
                await call()
        with pytest.raises(LeaseLost):
            await other.save(progress({QueueKind.PROCESSING: 99}, (a_message("m-1"),)))
    await event_store.claims.take(OURS)
    kept = await store.load()
    assert (kept.checkpoints, kept.next_due) == (POSITIONS, None)


async def test_everybody_may_read_the_totals(event_store: EventStore, store: RelayStore) -> None:
    await store.save(progress(totals=Totals({"work": 3})))
    assert (await read_totals(event_store.database)).published == {"work": 3}


async def test_tables_may_be_made_by_many_at_the_same_moment(event_store_url: str) -> None:
    async def make() -> None:
        async with open_event_log(event_store_url) as event_store:
            await create_tables(event_store.database)

    await asyncio.gather(*(make() for _ in range(8)))
