"""Claims are kept while the work runs, and a lost one ends it in time (design 7)."""

import asyncio
from collections.abc import Sequence

import pytest

from consumers.claim_keeper import ClaimKeeper, ClaimLost
from domain.errors import StoreUnavailable
from domain.ports import Claim
from tests.fakes.event_log import FakeClaims
from tests.virtual_time import in_virtual_time

SECONDS = 0.3


class TroubledClaims(FakeClaims):
    """`away` raises; `slow` answers after so many seconds."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop().time)
        self.away, self.slow, self.renewals = False, 0.0, 0

    async def renew(self, holder: str, names: Sequence[str], seconds: float) -> set[str]:
        self.renewals += 1
        await asyncio.sleep(self.slow)
        if self.away:
            raise StoreUnavailable("away")
        return await super().renew(holder, names, seconds)


async def work_for(claims: FakeClaims, seconds: float, claim_seconds: float = SECONDS) -> None:
    async with ClaimKeeper(claims, "w1", claim_seconds) as keeper:
        since = asyncio.get_running_loop().time()
        await claims.take(keeper.claim("a"))
        async with keeper.keep("a", since):
            await asyncio.sleep(seconds)


@in_virtual_time
async def test_a_claim_lasts_as_long_as_the_work() -> None:
    claims = TroubledClaims()
    await work_for(claims, SECONDS * 3)
    assert claims.renewals >= 3
    assert await claims.held(["a"]) == {"a"}, "it is not given back: an append does that"


@in_virtual_time
async def test_short_work_is_not_renewed() -> None:
    claims = TroubledClaims()
    await work_for(claims, SECONDS / 10)
    assert claims.renewals == 0


@pytest.mark.parametrize("slow", [0.0, 10.0])
@in_virtual_time
async def test_work_ends_before_its_claim_can_run_out_when_it_cannot_be_renewed(slow: float) -> None:
    claims = TroubledClaims()
    claims.away, claims.slow = True, slow
    begun = asyncio.get_running_loop().time()
    with pytest.raises(ClaimLost):
        await work_for(claims, 10)
    assert asyncio.get_running_loop().time() - begun == pytest.approx(SECONDS)


@in_virtual_time
async def test_work_ends_when_another_has_the_claim() -> None:
    claims = FakeClaims(asyncio.get_running_loop().time)

    async def another_takes_it() -> None:
        await asyncio.sleep(0.05)
        await claims.release(Claim("a", "w1", SECONDS))
        await claims.take(Claim("a", "w2", 60))

    thief = asyncio.create_task(another_takes_it())
    begun = asyncio.get_running_loop().time()
    with pytest.raises(ClaimLost):
        await work_for(claims, 10, claim_seconds=2.0)
    assert asyncio.get_running_loop().time() - begun < 1.6, "long before our own clock says so"
    await thief
    assert await claims.renew("w2", ["a"], 1) == {"a"}, "it was neither renewed nor freed by who lost it"


@in_virtual_time
async def test_one_lost_claim_ends_no_other_work() -> None:
    claims = FakeClaims(asyncio.get_running_loop().time)
    async with ClaimKeeper(claims, "w1", SECONDS) as keeper:

        async def work(name: str) -> str:
            since = asyncio.get_running_loop().time()
            await claims.take(keeper.claim(name))
            try:
                async with keeper.keep(name, since):
                    await asyncio.sleep(SECONDS * 2)
            except ClaimLost:
                return "lost"
            return "done"

        async def free_b() -> None:
            await asyncio.sleep(0.05)
            await claims.release(keeper.claim("b"))

        freeing = asyncio.create_task(free_b())
        assert list(await asyncio.gather(work("a"), work("b"))) == ["done", "lost"]
        await freeing


@in_virtual_time
async def test_a_claim_given_back_just_now_is_not_taken_for_lost() -> None:
    """The append that gives it back is durable some time before its answer is here."""
    claims = FakeClaims(asyncio.get_running_loop().time)
    async with ClaimKeeper(claims, "w1", SECONDS) as keeper:
        since = asyncio.get_running_loop().time()
        await claims.take(keeper.claim("a"))
        async with keeper.keep("a", since):
            await claims.release(keeper.claim("a"))
            await asyncio.sleep(SECONDS * 0.6)


@in_virtual_time
async def test_a_cancellation_from_outside_stays_one() -> None:
    task = asyncio.create_task(work_for(FakeClaims(asyncio.get_running_loop().time), 10))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
