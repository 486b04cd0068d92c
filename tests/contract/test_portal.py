"""What `consumers.portals.Adapter` promises, held against the sandbox over HTTP and the portals of the simulation."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest
from aiohttp.test_utils import TestServer

from consumers.portals import Adapter, Applied, Delivery, NotTaken, Refused
from consumers.portals.http import HttpPortal
from consumers.portals.sandbox import create_app
from infra.local_servers import free_port
from tests.sandbox import calling
from tests.simulation.chances import Chances
from tests.simulation.loop import SimLoop
from tests.simulation.portal import PortalService, SimAdapter
from tests.submissions import a_submission


@dataclass(frozen=True, slots=True)
class Portal:
    """One that takes idempotency keys, and one that takes none; `times` is how often that portal took an entry."""

    keyed: Adapter
    blind: Adapter
    times: Callable[[str], Awaitable[int]]


@pytest.fixture(params=["sandbox", "simulated"])
async def portal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Portal]:
    if request.param == "simulated":
        loop = cast(SimLoop, asyncio.get_running_loop())  # all that is asked of it is what every loop has
        keyed, blind = (
            PortalService(delivery.value, delivery, loop, Chances.none(), refusals=0.0, busy=0.0)
            for delivery in (Delivery.AT_LEAST_ONCE, Delivery.AT_MOST_ONCE)
        )

        async def taken(entry: str) -> int:
            return len(keyed.taken.get(entry, ())) + len(blind.taken.get(entry, ()))

        yield Portal(SimAdapter(keyed), SimAdapter(blind), taken)
        return
    async with TestServer(create_app(tmp_path / "sandbox.db")) as server:
        base = str(server.make_url("")).rstrip("/")
        entry = {"timeout": 5.0}
        async with (
            calling(base) as caller,
            HttpPortal({**entry, "url": f"{base}/submit", "delivery": "at_least_once"}) as keyed_one,
            HttpPortal({**entry, "url": f"{base}/submit-blind", "delivery": "at_most_once"}) as blind_one,
        ):

            async def received(entry: str) -> int:
                _, body = await caller.call("GET", f"/received?entry_id={entry}")
                return sum(one["taken"] for one in body["data"])

            yield Portal(keyed_one, blind_one, received)


async def test_what_is_taken_has_a_reference(portal: Portal) -> None:
    outcome = await portal.keyed.submit(a_submission())
    assert isinstance(outcome, Applied)
    assert outcome.reference
    assert await portal.times("entry-1") == 1


async def test_the_same_key_gets_the_same_answer_and_is_taken_once(portal: Portal) -> None:
    outcomes = {await portal.keyed.submit(a_submission()) for _ in range(3)}
    assert len(outcomes) == 1
    assert await portal.times("entry-1") == 1


async def test_without_keys_it_is_taken_as_often_as_it_is_sent(portal: Portal) -> None:
    for _ in range(2):
        assert isinstance(await portal.blind.submit(a_submission()), Applied)
    assert await portal.times("entry-1") == 2


async def test_a_definite_no_is_no_job_taken(portal: Portal) -> None:
    refused = a_submission("Baker [reject]")
    assert isinstance(await portal.keyed.submit(refused), Refused)
    assert await portal.times("entry-1") == 0
    again = replace(a_submission(), idempotency_key="entry-1-2")
    assert isinstance(await portal.keyed.submit(again), Applied)


async def test_one_that_is_away_is_unreachable_and_has_nothing(request: pytest.FixtureRequest) -> None:
    service = PortalService("gone", Delivery.AT_LEAST_ONCE, cast(SimLoop, asyncio.get_running_loop()), Chances.none())
    service.away = True
    gone: list[Adapter] = [
        SimAdapter(service),
        HttpPortal({"url": f"http://127.0.0.1:{free_port()}/submit", "timeout": 2.0, "delivery": "at_least_once"}),
    ]
    for adapter in gone:
        async with adapter:
            outcome = await adapter.submit(a_submission())
        assert isinstance(outcome, NotTaken)
        assert outcome.unreachable
