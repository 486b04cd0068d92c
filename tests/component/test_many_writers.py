"""PostgreSQL under 16 writers: random delays before commit, roll-backs, and one who sits idle in his transaction.

Each event is projected once and in its stream's order, and nobody stands still for longer than a second: the server
ends who sits idle in a transaction, and with him his lock. WRITTEN_EVENTS=1000000 is the long form.
"""

import asyncio
import os
import random
import threading
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.persistence import StoredEvent
from pymongo import IndexModel

from domain.errors import StoreTimeout
from domain.event import RecordedEvent
from infra import postgres_log
from infra.event_log import EventStore, open_event_log
from infra.mapper import EventMapper
from infra.mongo import Mongo
from infra.postgres_log import PostgresLog
from projections.read_model import Documents
from tests.contract.test_event_log import event
from tests.heart import Beats
from tests.projecting import projecting

EVENTS = int(os.environ.get("WRITTEN_EVENTS", "20000"))
LONG = EVENTS > 100_000
WRITERS = 16
AT_ONCE = 200  # events of one transaction, at most
DELAY_SECONDS = 0.005  # before a commit, at most
ROLLED_BACK = 0.1  # of all transactions
IDLE_EVERY_SECONDS = 3.0
STALL_SECONDS = 1.0
STREAMS = 5  # of one transaction


class RollBack(Exception):
    """This transaction is not meant to be committed."""


class Counts:
    """A read model with the number of events of each stream. Another order or a repetition raises."""

    NAME, VERSION, SPANS_STREAMS = "counts", 1, False
    INDEXES: Sequence[IndexModel] = ()

    def touches(self, recorded: RecordedEvent) -> Collection[str]:
        return (recorded.stream_id.hex,)

    def is_new(self, _id: str, _recorded: RecordedEvent) -> bool:
        return False

    def apply(self, recorded: RecordedEvent, docs: Documents) -> None:
        id = recorded.stream_id.hex
        doc = docs.setdefault(id, {"_id": id, "events": 0})
        if recorded.version != doc["events"] + 1:
            raise ValueError(f"version {recorded.version} after {doc['events']}")
        doc["events"] += 1


@dataclass(slots=True)
class Writers:
    """Threads, each with connections of its own. `written`: committed events of each stream."""

    url: str
    written: dict[UUID, int] = field(default_factory=dict)
    rolled_back: int = 0
    ended_idle: int = 0
    _left: int = EVENTS
    _counting: threading.Lock = field(default_factory=threading.Lock)
    _done: threading.Event = field(default_factory=threading.Event)

    def write(self, number: int) -> None:
        dice, template = random.Random(number), EventMapper().to_stored_event(event(UUID(int=1), 1))
        adapter = PostgresLog(self.url, 2)
        adapter.open()
        streams = [UUID(int=dice.getrandbits(128)) for _ in range(50)]
        while count := self._take(dice.randint(1, AT_ONCE)):
            while not self._append(adapter, dice, template, dice.sample(streams, STREAMS), count):
                pass  # rolled back: the same events again
        adapter.close()

    def _take(self, count: int) -> int:
        with self._counting:
            count = min(count, self._left)
            self._left -= count
            return count

    def _append(
        self, adapter: PostgresLog, dice: random.Random, template: StoredEvent, streams: list[UUID], count: int
    ) -> bool:
        last = {stream: self.written.get(stream, 0) for stream in streams}
        events: list[StoredEvent] = []
        for stream in dice.choices(streams, k=count):
            last[stream] += 1
            events.append(StoredEvent(stream, last[stream], template.topic, template.state))
        try:
            with adapter.appending() as session:
                session.insert(events)
                time.sleep(dice.uniform(0, DELAY_SECONDS))
                if dice.random() < ROLLED_BACK:
                    raise RollBack
        except (RollBack, StoreTimeout):
            self.rolled_back += 1
            return False
        self.written |= {stream: count for stream, count in last.items() if count}
        return True

    def sit_idle(self) -> None:
        """Inserts, and then does nothing in its transaction, until the server ends it."""
        template = EventMapper().to_stored_event(event(UUID(int=2), 1))
        adapter = PostgresLog(self.url, 2)
        adapter.open()
        while not self._done.wait(IDLE_EVERY_SECONDS if self.ended_idle else 0.5):
            with suppress(StoreTimeout), adapter.appending() as session:
                session.insert([template])
                time.sleep(3 * STALL_SECONDS)
                session.execute("SELECT 1")
                raise AssertionError("the server let it sit")
            self.ended_idle += 1
        adapter.close()

    def run(self) -> None:
        with ThreadPoolExecutor(WRITERS + 1) as threads:
            idle = threads.submit(self.sit_idle)
            for writer in [threads.submit(self.write, number) for number in range(WRITERS)]:
                writer.result()
            while not self.ended_idle and not idle.done():
                time.sleep(0.1)
            self._done.set()
            idle.result()


@pytest.mark.timeout(3600 if LONG else 180)
async def test_each_event_is_projected_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch, postgresql_url: str, mongodb_uri: str, mongo_database: str
) -> None:
    assert postgres_log.IDLE_TIMEOUT_MS < 1_000 * STALL_SECONDS
    if not LONG:  # other tests run beside it: this leaves them more of the second
        monkeypatch.setattr(postgres_log, "IDLE_TIMEOUT_MS", 250)
    writers, stop, counts = Writers(postgresql_url), asyncio.Event(), Counts()
    async with (
        open_event_log(postgresql_url) as store,
        Mongo(mongodb_uri, mongo_database) as mongo,
        projecting(mongo, store.log, models=[counts]) as projector,
    ):
        running = asyncio.create_task(projector.run(Beats(), stop))
        watching = asyncio.create_task(longest_stall(store, stop))
        began = time.monotonic()
        await asyncio.to_thread(writers.run)
        seconds, head = time.monotonic() - began, await store.log.head()
        collection = mongo.database["counts.1.1"]
        async with asyncio.timeout(60 + EVENTS / 2_000):
            while not (checkpoint := await collection.find_one({"_id": "checkpoint"})) or checkpoint["position"] < head:
                await asyncio.sleep(0.1)
        projected = time.monotonic() - began
        stop.set()
        await running
        stall = await watching
        found: dict[str, Any] = {one["_id"]: one["events"] async for one in collection.find({"events": {"$gt": 0}})}
    print(f"{EVENTS:,} events in {seconds:.1f} s, projected after {projected:.1f} s, longest stall {stall:.2f} s,")
    print(f"{writers.rolled_back} transactions rolled back, {writers.ended_idle} times idle in one")
    assert found == {stream.hex: count for stream, count in writers.written.items()}
    assert sum(found.values()) == EVENTS
    assert checkpoint["parked"] == 0
    assert writers.rolled_back
    assert writers.ended_idle
    assert stall < STALL_SECONDS


async def longest_stall(store: EventStore, stop: asyncio.Event) -> float:
    """Seconds between two moments at which the head had moved, while there was something to write."""
    loop, longest, position, since = asyncio.get_running_loop(), 0.0, 0, 0.0
    while not stop.is_set():
        await store.log.wait(position, 0.2)
        head = await store.log.head()
        if head > position:
            longest = max(longest, loop.time() - since if since else 0.0)
            position, since = head, loop.time()
    return longest
