"""The database of the simulation keeps the promises of the real ones: the same tests, on its own loop and time."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from blockbuster import BlockBuster

from infra.event_log import EventStore, open_adapter
from tests.contract import test_event_log
from tests.simulation.chances import Chances
from tests.simulation.log import LogServer, SimHead, SimLog
from tests.simulation.loop import SimLoop

PROMISES = {name: test for name, test in vars(test_event_log).items() if name.startswith("test_")}


@pytest.fixture(autouse=True)
def _unguarded(blockbuster: BlockBuster) -> Iterator[None]:
    """A database in memory is called on the loop itself."""
    blockbuster.deactivate()
    yield
    blockbuster.activate()


@asynccontextmanager
async def opened(loop: SimLoop, server: LogServer) -> AsyncIterator[EventStore]:
    async with open_adapter(
        SimLog(server), pool_size=8, batch_max=256, head_of=lambda adapter: SimHead(server), sleep=loop.sleep
    ) as store:
        yield store


@pytest.mark.parametrize("name", PROMISES)
def test_it_keeps_the_promise(name: str) -> None:
    promise: Callable[..., Awaitable[Any]] = PROMISES[name]
    loop = SimLoop(Chances.none().latency)

    async def hold() -> None:
        server = LogServer(loop, Chances.none())
        async with opened(loop, server) as store, opened(loop, server) as other:
            stores = {"store": store, "other": other}
            await promise(**{given: stores[given] for given in inspect.signature(promise).parameters})

    try:
        loop.run_until_complete(hold())
    finally:
        loop.close()
    assert loop.errors == []
