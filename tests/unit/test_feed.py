"""The log as messages: read once for all queues, at their own pace."""

import asyncio
from collections.abc import Sequence

import pytest

from consumers.feed import BATCH_EVENTS, BATCHES_KEPT, Feed
from domain.errors import StoreUnavailable
from domain.event import RecordedEvent
from domain.ports import Append
from infra.messages import QueueKind, QueueNames
from tests.builders import some_applications
from tests.fakes.event_log import FakeEventLog

NAMES = QueueNames(processing="work", notifications="news", dead_letters="dead")
FROM_THE_BEGINNING = dict.fromkeys(QueueKind, 0)


class CountedLog(FakeEventLog):
    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    async def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        self.reads += 1
        return await super().read(after, limit)


@pytest.fixture
def log() -> CountedLog:
    return CountedLog()


async def submit(log: FakeEventLog, count: int) -> None:
    head = await log.head()
    for story in some_applications(head + count)[head:]:
        await log.append(Append(story.recorded()))


async def follow(feed: Feed, kind: QueueKind, until: int) -> list[int]:
    """The positions that a follower of one queue sees."""
    position, seen = 0, []
    while position < until:
        batch = await feed.after(position)
        seen += [parcel.position for parcel in batch.parcels[kind] if parcel.position > position]
        position = batch.last
    return seen


async def test_queues_at_the_same_place_share_one_read(log: CountedLog) -> None:
    await submit(log, 600)
    feed = Feed(log, NAMES, FROM_THE_BEGINNING)
    seen = await asyncio.gather(*(follow(feed, kind, 600) for kind in QueueKind))
    assert seen == [list(range(1, 601)), list(range(1, 601)), []]
    assert log.reads == 3


async def test_one_that_is_behind_misses_nothing_and_finds_the_others_again(log: CountedLog) -> None:
    count = BATCH_EVENTS * (BATCHES_KEPT + 3)
    await submit(log, count)
    feed = Feed(log, NAMES, FROM_THE_BEGINNING)
    await follow(feed, QueueKind.PROCESSING, count)
    assert await follow(feed, QueueKind.NOTIFICATIONS, count) == list(range(1, count + 1))
    reads = log.reads
    await submit(log, 10)
    for _ in QueueKind:
        await feed.after(count)
    assert log.reads == reads + 1


async def test_it_waits_for_events_and_for_a_log_that_is_away(log: CountedLog) -> None:
    feed = Feed(log, NAMES, FROM_THE_BEGINNING)
    log.trouble = StoreUnavailable("away")
    waiting = asyncio.create_task(feed.after(0))
    await asyncio.sleep(0.01)
    log.trouble = None
    await submit(log, 1)
    assert (await asyncio.wait_for(waiting, 3)).last == 1


async def test_what_is_found_is_counted_once_from_each_checkpoint_on(log: CountedLog) -> None:
    await submit(log, 600)
    feed = Feed(log, NAMES, {**FROM_THE_BEGINNING, QueueKind.NOTIFICATIONS: 590})
    await follow(feed, QueueKind.PROCESSING, 600)
    await follow(feed, QueueKind.NOTIFICATIONS, 600)
    assert feed.counts == {QueueKind.PROCESSING: 600, QueueKind.NOTIFICATIONS: 10, QueueKind.DEAD_LETTERS: 0}


async def test_queues_that_are_held_up_can_be_counted(log: CountedLog) -> None:
    await submit(log, 3_000)
    feed = Feed(log, NAMES, {**FROM_THE_BEGINNING, QueueKind.PROCESSING: 100})
    await feed.after(2_900)
    for _ in range(10):
        await feed.count_to(3_000, batches=2)
    assert feed.counts[QueueKind.PROCESSING] == 2_900
    assert feed.counts[QueueKind.NOTIFICATIONS] == 3_000
