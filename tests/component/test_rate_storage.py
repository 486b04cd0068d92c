"""Rate limits in MongoDB, under the library's own moving window: exact, shared, bounded, and out of the way."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.aio.strategies import MovingWindowRateLimiter

from domain.errors import StoreError, StoreFailed, StoreUnavailable
from infra import metrics
from infra.local_servers import start_mongodb
from infra.mongo import Mongo
from infra.rate_storage import ANSWER_SECONDS, RateLimitStorage
from infra.rate_windows import OLDEST, SLOTS
from tests.api import until
from tests.fakes.clock import FakeClock

TEN = RateLimitItemPerHour(10)
HOUR = 3600


@pytest.fixture
def clock() -> FakeClock:
    """Of today: the server removes what is old by its own clock."""
    now = datetime.now(UTC)
    return FakeClock(now.replace(microsecond=now.microsecond // 1000 * 1000))


@asynccontextmanager
async def limiters(mongo: Mongo, clock: FakeClock, count: int = 1) -> AsyncIterator[Sequence[MovingWindowRateLimiter]]:
    """Each as in a process of its own."""
    storages = [RateLimitStorage(mongo, clock) for _ in range(count)]
    yield [MovingWindowRateLimiter(storage) for storage in storages]
    for storage in storages:
        await storage.close()


async def document(mongo: Mongo, item: RateLimitItem, who: str) -> dict[str, Any]:
    found = await mongo.database["rate_limits"].find_one({"_id": item.key_for(who)})
    assert found is not None
    return found


class SlidingWindow:
    """What a moving window is, with all its hits. They leave when the slot in which they were made has left."""

    def __init__(self, item: RateLimitItem, slot: int) -> None:
        self.limit, self.period, self.slot, self.leave_at = item.amount, item.get_expiry() * 1000, slot, list[int]()

    def hit(self, now: int, amount: int) -> bool:
        self.leave_at = [at for at in self.leave_at if at > now]
        fits = len(self.leave_at) + amount <= self.limit
        self.leave_at += [now // self.slot * self.slot + self.slot - 1 + self.period] * amount * fits
        return fits


@pytest.mark.parametrize(
    ("item", "slot", "hits"),
    [
        (RateLimitItemPerMinute(40), 1, 1),
        (RateLimitItemPerSecond(7), 1, 1),
        (RateLimitItemPerMinute(3), 1, 1),
        (RateLimitItemPerHour(SLOTS + 1), 1000, 300),
    ],
)
async def test_two_processes_together_are_one_sliding_window(
    mongo: Mongo, clock: FakeClock, item: RateLimitItem, slot: int, hits: int
) -> None:
    chance = random.Random(item.amount)  # the same in each run
    window, period = SlidingWindow(item, slot), item.get_expiry()
    async with limiters(mongo, clock, 2) as pair:
        for _ in range(250):
            clock.advance(chance.choice([0, 0, 0.001, 0.4, period / 20, period / 3]))
            now, amount, limiter = milliseconds(clock), hits * chance.choice([1, 1, 1, 2, 5]), chance.choice(pair)
            assert await limiter.hit(item, "ada", cost=amount) == window.hit(now, amount)
            stats = await limiter.get_window_stats(item, "ada")
            assert stats.remaining == item.amount - len(window.leave_at)
            if window.leave_at:
                assert round(stats.reset_time * 1000) == window.leave_at[0]
        held = await document(mongo, item, "ada")
    assert held["total"] == sum(held["slots"].values())
    assert len(held["slots"]) <= item.amount


async def test_many_at_once_through_several_processes_never_exceed_a_limit(mongo: Mongo, clock: FakeClock) -> None:
    users = [f"user-{n}" for n in range(20)]
    async with limiters(mongo, clock, 3) as several:
        hits = [(limiter, user) for user in users for limiter in several for _ in range(6)]
        random.Random(1).shuffle(hits)
        passed = await asyncio.gather(*(limiter.hit(TEN, user) for limiter, user in hits))
    for user in users:
        assert sum(ok for (_, one), ok in zip(hits, passed, strict=True) if one == user) == 10
        assert (await document(mongo, TEN, user))["total"] == 10


async def test_hits_that_wait_share_their_round_trips(mongo: Mongo, clock: FakeClock) -> None:
    async with limiters(mongo, clock) as [limiter]:
        await limiter.hit(TEN, "warm")
        before = commands()
        assert all(await asyncio.gather(*(limiter.hit(TEN, f"user-{n}") for n in range(200))))
        assert commands() - before == 2


def commands() -> float:
    value = metrics.DB_OPERATIONS_TOTAL.value
    kinds = ("update", "find", "getMore")
    return sum(value(operation=kind, collection="rate_limits", status="success") for kind in kinds)


async def test_who_fits_is_not_refused_for_who_does_not(mongo: Mongo, clock: FakeClock) -> None:
    async with limiters(mongo, clock, 2) as [one, other]:
        await other.hit(TEN, "ada", cost=7)
        passed = await asyncio.gather(*(one.hit(TEN, "ada", cost=cost) for cost in (2, 4, 1, 1, 11)))
    assert passed == [True, False, True, False, False]


async def test_who_thought_that_there_was_plenty_of_room_is_refused_all_the_same(
    mongo: Mongo, clock: FakeClock
) -> None:
    async with limiters(mongo, clock, 2) as [one, other]:
        await one.hit(TEN, "ada")
        await other.hit(TEN, "ada", cost=8)
        passed = await asyncio.gather(*(one.hit(TEN, "ada", cost=cost) for cost in (3, 1)))
        assert passed == [False, True]
        assert (await one.get_window_stats(TEN, "ada")).remaining == 0
    held = await document(mongo, TEN, "ada")
    assert held["total"] == sum(held["slots"].values()) == 10


async def test_a_full_window_is_refused_without_a_question(mongo: Mongo, clock: FakeClock) -> None:
    async with limiters(mongo, clock) as [limiter]:
        await limiter.hit(TEN, "ada", cost=10)
        before = commands()
        for _ in range(100):
            assert not await limiter.hit(TEN, "ada")
            assert (await limiter.get_window_stats(TEN, "ada")).remaining == 0
        assert commands() == before


async def test_a_caller_that_goes_holds_up_nobody(mongo: Mongo, clock: FakeClock) -> None:
    async with limiters(mongo, clock) as [limiter]:
        gone = [asyncio.create_task(limiter.hit(TEN, "ada")) for _ in range(3)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        assert await limiter.hit(TEN, "ada")
        await asyncio.gather(*gone, return_exceptions=True)


# -- what is kept -----------------------------------------------------------------------------------------------------


async def test_what_has_left_is_taken_out_of_the_document(mongo: Mongo, clock: FakeClock) -> None:
    item = RateLimitItemPerMinute(SLOTS)
    async with limiters(mongo, clock) as [limiter]:
        for _ in range(3 * OLDEST):
            await limiter.hit(item, "ada")
            clock.advance(1)
        clock.advance(60)
        for _ in range(3):
            await limiter.hit(item, "ada")
        held = await document(mongo, item, "ada")
    assert (len(held["slots"]), held["total"]) == (1, 3)


async def test_a_huge_limit_keeps_a_small_document(mongo: Mongo, clock: FakeClock) -> None:
    item = RateLimitItemPerHour(1_000_000)
    async with limiters(mongo, clock) as [limiter]:
        for _ in range(50):
            assert await limiter.hit(item, "ada", cost=1000)
            clock.advance(0.1)
        stats = await limiter.get_window_stats(item, "ada")
        held = await document(mongo, item, "ada")
    assert stats.remaining == 1_000_000 - 50_000
    assert len(held["slots"]) <= 6, "a second is a slot"


async def test_documents_go_by_themselves_but_not_before_their_hits(mongo: Mongo, clock: FakeClock) -> None:
    async with limiters(mongo, clock) as [limiter]:
        await limiter.hit(TEN, "ada")
    indexes = await mongo.database["rate_limits"].index_information()
    assert indexes["expire_at"]["expireAfterSeconds"] == 0
    expires = (await document(mongo, TEN, "ada"))["expire_at"]
    assert timedelta(hours=1) < expires - clock.now() < timedelta(hours=1, minutes=3)


async def test_hits_can_be_given_back(mongo: Mongo, clock: FakeClock) -> None:
    async with limiters(mongo, clock, 2) as [one, other]:
        await one.hit(TEN, "ada", cost=4)
        clock.advance(5)
        began = clock.now()
        await other.hit(TEN, "ada", cost=6)
        assert not await one.hit(TEN, "ada")
        storage = other.storage
        assert isinstance(storage, RateLimitStorage)
        await storage.give_back(TEN.key_for("ada"), 10, HOUR, 6, began)
        await storage.give_back(TEN.key_for("ada"), 10, HOUR, 6, began)  # there is nothing left of them
        assert (await other.get_window_stats(TEN, "ada")).remaining == 6
        assert await other.hit(TEN, "ada", cost=6)
        clock.advance(HOUR - 5)
        assert (await other.get_window_stats(TEN, "ada")).remaining == 4
        clock.advance(5)
        assert await one.hit(TEN, "ada", cost=10)


async def test_windows_can_be_forgotten(mongo: Mongo, clock: FakeClock) -> None:
    async with limiters(mongo, clock) as [limiter]:
        for user in ("ada", "bob"):
            await limiter.hit(TEN, user, cost=10)
        await limiter.clear(TEN, "ada")
        assert await limiter.hit(TEN, "ada", cost=10)
        assert not await limiter.hit(TEN, "bob")
        assert await limiter.storage.reset() == 2
        assert await limiter.hit(TEN, "bob", cost=10)
        stats = await limiter.get_window_stats(TEN, "nobody")
    assert (stats.remaining, round(stats.reset_time, 3)) == (10, clock.now().timestamp()), (
        "there is nothing to wait for"
    )


# -- while MongoDB is away --------------------------------------------------------------------------------------------


async def test_nobody_waits_for_a_database_that_hangs(tmp_path: Path, clock: FakeClock) -> None:
    server = await start_mongodb(tmp_path / "mongodb")
    try:
        async with Mongo(server.url, "x") as mongo, limiters(mongo, clock) as [limiter]:
            assert await limiter.hit(TEN, "ada")
            assert await limiter.storage.check()
            await server.pause()
            began = time.monotonic()
            first = await asyncio.gather(*(limiter.hit(TEN, f"user-{n}") for n in range(50)), return_exceptions=True)
            assert all(isinstance(error, StoreError) for error in first)
            assert time.monotonic() - began < 10, "these were under way"
            began = time.monotonic()
            for _ in range(500):
                with pytest.raises(StoreUnavailable):
                    await limiter.hit(TEN, "ada")
            assert time.monotonic() - began < 100 * ANSWER_SECONDS, "these did not wait"
            await server.resume()

            async def is_back() -> bool:
                try:
                    return await limiter.hit(TEN, "bob")
                except StoreError:
                    return False

            await until(is_back, "limits are kept again")
            assert (await limiter.get_window_stats(TEN, "ada")).remaining <= 9, "what was counted is not forgotten"
    finally:
        await server.resume()
        await server.stop()


async def test_a_count_that_the_database_refuses_is_a_failure_and_no_full_window(
    mongo: Mongo, clock: FakeClock
) -> None:
    await mongo.database.create_collection("rate_limits", validator={"never": {"$exists": True}})
    async with limiters(mongo, clock) as [limiter]:
        with pytest.raises(StoreFailed):
            await limiter.hit(TEN, "ada")


async def test_what_is_under_way_ends_with_the_storage(tmp_path: Path, clock: FakeClock) -> None:
    async with Mongo("mongodb://127.0.0.1:1/?replicaSet=rs0", "x") as mongo:
        storage = RateLimitStorage(mongo, clock)
        hit = asyncio.create_task(MovingWindowRateLimiter(storage).hit(TEN, "ada"))
        await asyncio.sleep(0)
        await storage.close()
        with pytest.raises((StoreError, asyncio.CancelledError)):
            await hit


def milliseconds(clock: FakeClock) -> int:
    return round(clock.now().timestamp() * 1000)
