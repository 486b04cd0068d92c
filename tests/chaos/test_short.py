"""The short form: one round on each store, its times scaled to a fifth. The long form: `make chaos CYCLES=200`."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.chaos.estate import Servers, servers
from tests.chaos.plan import drawn
from tests.chaos.round import run_round

CYCLES = 6
LONGEST_SECONDS, SCALE = 5.0, 0.2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def own_servers() -> AsyncIterator[Servers]:
    """Not those of the other tests: these are killed."""
    async with servers("postgresql") as started:
        yield started


@pytest.mark.timeout(180)
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("store", "seed"), [("sqlite", 2), ("postgresql", 4)])
async def test_nothing_is_lost_doubled_or_stuck(own_servers: Servers, store: str, seed: int) -> None:
    plan = drawn(seed, CYCLES, store, LONGEST_SECONDS, SCALE)
    print(plan)
    outcome = await run_round(own_servers, plan, print)
    print(outcome.told)
    assert not outcome.found, "\n".join(map(str, outcome.found))
