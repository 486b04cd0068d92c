"""What `domain.ports.EventLog` and `Claims` promise, held against every adapter: SQLite, PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from domain.application_events import ApplicationCancelled, Brief, Requeued
from domain.errors import ClaimedElsewhere, Conflict
from domain.event import Cause, Event, Metadata, Owner, RecordedEvent
from domain.ports import Append, Claim
from infra.clock import SystemClock
from infra.event_log import EventStore, open_event_log
from tests.builders import START

CLOCK = SystemClock()


@pytest.fixture
async def store(event_store_url: str) -> AsyncIterator[EventStore]:
    async with open_event_log(event_store_url) as opened:
        yield opened


@pytest.fixture
async def other(event_store_url: str) -> AsyncIterator[EventStore]:
    """A second process, as far as the store can tell."""
    async with open_event_log(event_store_url) as opened:
        yield opened


def event(stream_id: UUID, version: int, happened: Event | None = None) -> RecordedEvent:
    at = CLOCK.now()
    cause = Cause("user:ada", "correlation", "causation", "00-trace-01")
    happened = happened or ApplicationCancelled(reason=f"{version}")
    return RecordedEvent(stream_id, version, happened, Metadata(CLOCK.new_id(at), at, cause, Owner("ada", 1, at)))


def some(stream_id: UUID, *versions: int) -> Append:
    return Append([event(stream_id, version) for version in versions])


async def everything(store: EventStore) -> Sequence[RecordedEvent]:
    found: list[RecordedEvent] = []
    while batch := await store.log.read(found[-1].position if found else 0, 100):
        found.extend(batch)
    return found


# -- streams ----------------------------------------------------------------------------------------------------------


async def test_an_event_is_read_back_as_it_was_appended(store: EventStore) -> None:
    appended = event(uuid4(), 1, Requeued(reason="ünïcode \x00 🙂", brief=Brief(cv_id="c", style=None)))
    position = await store.log.append(Append([appended]))
    [read] = await store.log.read_stream(appended.stream_id)
    assert read.position == position
    assert (read.stream_id, read.version, read.event, read.metadata) == (
        appended.stream_id,
        appended.version,
        appended.event,
        appended.metadata,
    )


async def test_an_unknown_stream_is_empty(store: EventStore) -> None:
    assert list(await store.log.read_stream(uuid4())) == []


async def test_an_append_over_several_streams_is_one(store: EventStore) -> None:
    first, second = uuid4(), uuid4()
    await store.log.append(some(first, 1))
    with pytest.raises(Conflict):
        await store.log.append(Append([event(second, 1), event(first, 1)]))
    assert list(await store.log.read_stream(second)) == []


async def test_the_answer_is_the_position_of_the_last_event(store: EventStore) -> None:
    stream = uuid4()
    position = await store.log.append(some(stream, 1, 2, 3))
    assert [e.position for e in await store.log.read_stream(stream)][-1] == position
    assert await store.log.head() == position


# -- concurrency ------------------------------------------------------------------------------------------------------


async def test_of_many_appends_of_one_version_one_wins(store: EventStore, other: EventStore) -> None:
    stream = uuid4()
    results = await asyncio.gather(
        *(which.log.append(some(stream, 1)) for which in (store, other) for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(result, int) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 19


async def test_a_conflict_fails_only_its_own_request(store: EventStore) -> None:
    taken, fresh = uuid4(), [uuid4() for _ in range(30)]
    await store.log.append(some(taken, 1))
    results = await asyncio.gather(
        *(store.log.append(some(stream, 1)) for stream in fresh[:15]),
        store.log.append(some(taken, 1)),
        *(store.log.append(some(stream, 1)) for stream in fresh[15:]),
        return_exceptions=True,
    )
    assert isinstance(results[15], Conflict)
    for stream, position in zip(fresh, [*results[:15], *results[16:]], strict=True):
        assert [e.position for e in await store.log.read_stream(stream)] == [position]


async def test_an_append_larger_than_a_group_goes_alone(store: EventStore) -> None:
    large, small = uuid4(), uuid4()
    await asyncio.gather(
        store.log.append(some(small, 1)),
        store.log.append(some(large, *range(1, 700))),
        store.log.append(some(small, 2)),
    )
    assert [e.version for e in await store.log.read_stream(large)] == list(range(1, 700))
    assert len(await everything(store)) == 701


async def test_a_caller_who_gives_up_does_not_undo_his_append(store: EventStore) -> None:
    stream = uuid4()
    appending = asyncio.create_task(store.log.append(some(stream, 1)))
    await asyncio.sleep(0)  # it waits for the writer now
    appending.cancel()
    await store.log.append(some(uuid4(), 1))
    assert len(await store.log.read_stream(stream)) == 1


# -- the one order ----------------------------------------------------------------------------------------------------


async def test_a_follower_skips_nothing_while_two_write(store: EventStore, other: EventStore) -> None:
    streams = [uuid4() for _ in range(20)]
    seen: list[tuple[UUID, int]] = []

    async def follow() -> None:
        position = 0
        while len(seen) < 400:
            await store.log.wait(position, 5)
            for one in await store.log.read(position, 50):
                assert one.position > position
                position = one.position
                seen.append((one.stream_id, one.version))

    async def write(which: EventStore, stream: UUID) -> None:
        for version in range(1, 21):
            await which.log.append(some(stream, version))

    following = asyncio.create_task(follow())
    await asyncio.gather(*(write((store, other)[n % 2], stream) for n, stream in enumerate(streams)))
    await asyncio.wait_for(following, 20)
    assert sorted(seen) == sorted((stream, version) for stream in streams for version in range(1, 21))


async def test_a_waiting_reader_is_woken_by_another_process(store: EventStore, other: EventStore) -> None:
    head = await store.log.head()
    waiting = asyncio.create_task(store.log.wait(head, 10))
    await store.log.wait(head, 0.05)
    assert not waiting.done()
    await other.log.append(some(uuid4(), 1))
    await asyncio.wait_for(waiting, 2)


async def test_waiting_ends_by_itself(store: EventStore) -> None:
    await asyncio.wait_for(store.log.wait(await store.log.head(), 0.05), 2)


# -- claims -----------------------------------------------------------------------------------------------------------


async def test_a_claim_is_taken_by_the_append_that_wins_it(store: EventStore, other: EventStore) -> None:
    stream = uuid4()
    mine, yours = Claim(stream.hex, "me", 30), Claim(stream.hex, "you", 30)
    await store.log.append(Append([event(stream, 1)], take=mine))
    with pytest.raises(ClaimedElsewhere):
        await other.log.append(Append([event(stream, 2)], take=yours))
    assert len(await store.log.read_stream(stream)) == 1
    assert await store.claims.held([stream.hex, "free"]) == {stream.hex}


async def test_an_append_that_conflicts_takes_no_claim(store: EventStore) -> None:
    stream = uuid4()
    await store.log.append(some(stream, 1))
    with pytest.raises(Conflict):
        await store.log.append(Append([event(stream, 1)], take=Claim("name", "me", 30)))
    assert await store.claims.held(["name"]) == set()


async def test_a_claim_is_given_back_by_the_append_that_ends_the_work(store: EventStore) -> None:
    stream, claim = uuid4(), Claim("name", "me", 30)
    await store.log.append(Append([event(stream, 1)], take=claim))
    await store.log.append(Append([event(stream, 2)], release=claim))
    assert await store.claims.held(["name"]) == set()


async def test_nobody_releases_what_is_not_his(store: EventStore) -> None:
    stream = uuid4()
    await store.log.append(Append([event(stream, 1)], take=Claim("name", "me", 30)))
    await store.log.append(Append([event(stream, 2)], release=Claim("name", "you", 30)))
    await store.claims.release(Claim("name", "you", 30))
    assert await store.claims.held(["name"]) == {"name"}


async def test_a_claim_that_ran_out_goes_to_the_next(store: EventStore, other: EventStore) -> None:
    assert await store.claims.take(Claim("name", "me", -0.1))
    assert await store.claims.held(["name"]) == set()
    assert await other.claims.take(Claim("name", "you", 30))
    assert await store.claims.renew("me", ["name"], 30) == set()
    assert not await store.claims.take(Claim("name", "me", 30))


async def test_a_holder_renews_what_is_his(store: EventStore) -> None:
    assert await store.claims.take(Claim("one", "me", 30))
    assert await store.claims.take(Claim("two", "you", 30))
    assert await store.claims.renew("me", ["one", "two", "three"], 30) == {"one"}
    assert await store.claims.take(Claim("one", "me", 30))


# -- times ------------------------------------------------------------------------------------------------------------


def at(second: float, stream: UUID | None = None) -> RecordedEvent:
    """The first event of a stream, so long after START."""
    made = event(stream or uuid4(), 1)
    return replace(made, metadata=replace(made.metadata, at=START + timedelta(seconds=second)))


async def test_a_time_leads_to_the_last_event_by_then(store: EventStore) -> None:
    assert await store.log.position_at(START) == 0
    positions = [await store.log.append(Append([at(second), at(second)])) for second in range(0, 40, 2)]
    assert await store.log.position_at(START - timedelta(milliseconds=1)) == 0
    for number, position in enumerate(positions):
        for more in (0, 1, 1.999):
            assert await store.log.position_at(START + timedelta(seconds=2 * number + more)) == position
    assert await store.log.position_at(START + timedelta(days=1)) == positions[-1]


async def test_events_that_come_late_or_early_are_not_passed_over(store: EventStore) -> None:
    """Clocks of machines differ, and appends overtake each other."""
    seconds = [5, 0, 1, 9, 2, 3, 8, 4, 6, 20, 7, 10]
    last = await store.log.append(Append([at(second) for second in seconds]))
    first = last - len(seconds) + 1
    for by in range(21):
        expected = max((first + n for n, second in enumerate(seconds) if second <= by), default=0)
        assert await store.log.position_at(START + timedelta(seconds=by)) == expected


async def test_positions_without_an_event_do_no_harm(store: EventStore) -> None:
    taken = uuid4()
    await store.log.append(Append([at(0, taken)]))
    for _ in range(5):  # each costs a position where the database gives them out before it looks
        with pytest.raises(Conflict):
            await store.log.append(Append([at(1), at(1, taken)]))
    last = await store.log.append(Append([at(2)]))
    assert await store.log.position_at(START + timedelta(seconds=1)) < last
    assert await store.log.position_at(START + timedelta(seconds=2)) == last
