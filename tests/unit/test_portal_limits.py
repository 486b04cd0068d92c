"""A portal's limits and its circuit breaker (contract portals.md 2)."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import pytest

from consumers.portals import Applied, NotTaken, Outcome, PortalResting, Refused, Submission, Unknown
from consumers.portals import limits as limits_module
from consumers.portals.entry import PortalEntry
from consumers.portals.limits import CircuitBreaker, LimitedPortal, Pace
from domain.errors import StoreUnavailable
from tests.submissions import a_submission

UNREACHABLE = NotTaken("refused", unreachable=True)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Adapter:
    """Gives the outcome that it is told to."""

    def __init__(self, entry: Mapping[str, Any] | None = None) -> None:
        self.outcome: Outcome | Exception = Applied(None)
        self.gate = asyncio.Event()
        self.gate.set()
        self.inside = self.most = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def submit(self, submission: Submission) -> Outcome:
        outcome = self.outcome
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.gate.wait()
        finally:
            self.inside -= 1
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def a_portal(**fields: Any) -> tuple[LimitedPortal, Adapter, Clock]:
    adapter, clock = Adapter(), Clock()
    portal = LimitedPortal("linkedin", PortalEntry.model_validate({"timeout": 30} | fields), adapter)
    portal.breaker = CircuitBreaker("linkedin", clock)
    return portal, adapter, clock


async def send(portal: LimitedPortal) -> Outcome:
    async with portal.slot():
        return await portal.submit(a_submission())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def rests(portal: LimitedPortal) -> float:
    """For how long, in seconds."""
    with pytest.raises(PortalResting) as resting:
        await send(portal)
    return resting.value.seconds


async def fail(portal: LimitedPortal, adapter: Adapter, times: int) -> None:
    adapter.outcome = UNREACHABLE
    for _ in range(times):
        assert await send(portal) == UNREACHABLE


# -- the circuit breaker ----------------------------------------------------------------------------------------------


async def test_a_portal_that_cannot_be_reached_five_times_rests() -> None:
    portal, adapter, _ = a_portal()
    await fail(portal, adapter, 4)
    await fail(portal, adapter, 1)
    assert await rests(portal) == 1.0


@pytest.mark.parametrize(
    "reached",
    [Applied("R"), Refused("no"), NotTaken("503"), NotTaken("429", retry_after=5), Unknown("lost")],
)
async def test_anything_but_unreachable_breaks_the_row(reached: Outcome) -> None:
    portal, adapter, _ = a_portal()
    for _ in range(3):
        await fail(portal, adapter, 4)
        adapter.outcome = reached
        assert await send(portal) == reached


async def test_the_rest_doubles_to_thirty_seconds_with_one_try_after_each() -> None:
    portal, adapter, clock = a_portal()
    await fail(portal, adapter, 5)
    for seconds in (1, 2, 4, 8, 16, 30, 30):
        assert await rests(portal) == seconds
        clock.now += seconds - 0.5
        assert await rests(portal) == 0.5
        clock.now += 0.5
        await fail(portal, adapter, 1)


async def test_the_first_success_ends_it() -> None:
    portal, adapter, clock = a_portal()
    await fail(portal, adapter, 5)
    clock.now += 1
    adapter.outcome = Applied(None)
    assert await send(portal) == Applied(None)
    await fail(portal, adapter, 4)  # counted anew
    await fail(portal, adapter, 1)
    assert await rests(portal) == 1.0  # and the rest begins anew


async def test_after_a_rest_only_one_job_is_let_through() -> None:
    portal, adapter, clock = a_portal()
    await fail(portal, adapter, 5)
    clock.now += 1
    adapter.gate.clear()
    adapter.outcome = Applied(None)
    attempt = asyncio.create_task(send(portal))
    await until(lambda: adapter.inside == 1)
    assert await rests(portal) == 1.0
    adapter.gate.set()
    assert await attempt == Applied(None)
    assert await send(portal) == Applied(None)


async def test_a_try_that_never_called_the_portal_is_given_to_the_next_job() -> None:
    portal, adapter, clock = a_portal()
    await fail(portal, adapter, 5)
    clock.now += 1
    async with portal.slot():
        pass
    adapter.outcome = Applied(None)
    assert await send(portal) == Applied(None)


async def test_a_cancelled_try_is_given_to_the_next_job() -> None:
    portal, adapter, clock = a_portal()
    await fail(portal, adapter, 5)
    clock.now += 1
    adapter.gate.clear()
    attempt = asyncio.create_task(send(portal))
    await until(lambda: adapter.inside == 1)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    adapter.gate.set()
    await fail(portal, adapter, 1)
    assert await rests(portal) == 2.0


async def test_jobs_under_way_when_it_begins_to_rest_end_as_they_do_and_do_not_lengthen_it() -> None:
    portal, adapter, _ = a_portal(concurrency=8)
    adapter.outcome = UNREACHABLE
    adapter.gate.clear()
    jobs = [asyncio.create_task(send(portal)) for _ in range(8)]
    await until(lambda: adapter.inside == 8)
    adapter.gate.set()
    assert await asyncio.gather(*jobs) == [UNREACHABLE] * 8
    assert await rests(portal) == 1.0


async def test_jobs_that_were_let_through_before_it_rests_do_not_lengthen_it_when_they_call_later() -> None:
    portal, adapter, _ = a_portal(concurrency=8)
    adapter.outcome = UNREACHABLE
    may_call = asyncio.Event()

    async def let_through_early() -> Outcome:
        async with portal.slot():
            await may_call.wait()  # its attempt gets into the log
            return await portal.submit(a_submission())

    early = [asyncio.create_task(let_through_early()) for _ in range(3)]
    await until(lambda: portal._places._value == 5)
    await fail(portal, adapter, 5)
    may_call.set()
    await asyncio.gather(*early)
    assert await rests(portal) == 1.0


async def test_jobs_that_wait_for_a_place_are_given_back_when_it_begins_to_rest() -> None:
    portal, adapter, _ = a_portal(concurrency=5)
    adapter.outcome = UNREACHABLE
    turns = []

    class Counting(Pace):
        def reserve(self) -> float:
            turns.append(1)
            return 0.0

    portal._pace = Counting(None)
    adapter.gate.clear()
    jobs = [asyncio.create_task(send(portal)) for _ in range(20)]
    await until(lambda: adapter.inside == 5)
    adapter.gate.set()
    results = await asyncio.gather(*jobs, return_exceptions=True)
    assert results[:5] == [UNREACHABLE] * 5
    assert {type(result) for result in results[5:]} == {PortalResting}
    assert len(turns) == 5  # those that only come back took none of the rate


# -- how many ---------------------------------------------------------------------------------------------------------


async def test_no_more_than_its_concurrency_at_once() -> None:
    portal, adapter, _ = a_portal(concurrency=3)
    adapter.gate.clear()
    jobs = [asyncio.create_task(send(portal)) for _ in range(10)]
    await until(lambda: adapter.inside == 3)
    adapter.gate.set()
    await asyncio.gather(*jobs)
    assert adapter.most == 3


def test_no_more_than_its_rate_evenly_spaced() -> None:
    clock = Clock()
    pace = Pace(rate=4, clock=clock)
    assert [pace.reserve() for _ in range(4)] == [0, 0.25, 0.5, 0.75]
    clock.now += 10
    assert [pace.reserve() for _ in range(2)] == [0, 0.25]  # idle time is not saved up


async def test_the_rate_is_kept_by_waiting() -> None:
    portal, _, _ = a_portal(rate=50, concurrency=8)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.gather(*(send(portal) for _ in range(6)))
    assert loop.time() - began >= 5 / 50


async def test_without_a_rate_nobody_waits() -> None:
    pace = Pace(rate=None)
    assert {pace.reserve() for _ in range(100)} == {0.0}


# -- adapters that break their promise --------------------------------------------------------------------------------


async def test_an_adapter_that_overruns_its_time_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "OVERDUE_SECONDS", 0.0)
    portal, adapter, _ = a_portal(timeout=0.05)
    adapter.gate.clear()
    assert await send(portal) == Unknown("no answer within 0.05 s", "TimeoutError")


async def test_an_adapter_that_raises_gives_an_unknown_outcome() -> None:
    portal, adapter, _ = a_portal()
    adapter.outcome = KeyError("secret")
    assert await send(portal) == Unknown("KeyError in the portal's adapter", "KeyError")


async def test_what_the_store_says_of_the_cv_comes_through() -> None:
    portal, adapter, _ = a_portal()
    adapter.outcome = StoreUnavailable("gone")
    with pytest.raises(StoreUnavailable):
        await send(portal)


async def test_a_slot_is_free_again_after_any_end() -> None:
    portal, adapter, _ = a_portal(concurrency=1)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(portal.slot())
    adapter.outcome = KeyError("x")
    await send(portal)
    adapter.outcome = Applied(None)
    assert await asyncio.wait_for(send(portal), 5) == Applied(None)
