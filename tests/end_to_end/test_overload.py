"""Ten times the load: what is too much is told so at once, and what was taken ends."""

import asyncio
from pathlib import Path

import pytest

from domain.application_events import ApplicationSubmitted
from infra.event_log import EventStore, open_event_log
from tests.bench.http_load import in_own_process
from tests.bench.submit import CONNECTIONS, orders
from tests.end_to_end.service import Service, until

CALLERS = 10 * CONNECTIONS
ANSWERS = 3_000
REFUSED_MS = 2_000  # on a machine that other tests keep busy; `make bench` tells what it is on a quiet one


@pytest.mark.timeout(240)
async def test_ten_times_the_callers(
    tmp_path: Path, mongodb_uri: str, mongo_database: str, rabbitmq_url: str, deployed_store_url: str
) -> None:
    service = Service.on(
        tmp_path, mongodb=mongodb_uri, database=mongo_database, rabbitmq=rabbitmq_url, event_store=deployed_store_url
    )
    async with service.running() as client, open_event_log(deployed_store_url) as event_store:
        await in_own_process(orders(client, 200))
        seen = await in_own_process(orders(client, ANSWERS, connections=CALLERS, patient=True))
        taken = 200 + seen.done - seen.refused
        print(f"{taken} taken, {seen.refused} refused, p99 of refusals {seen.refused_p99_ms:.0f} ms")
        assert seen.refused
        assert seen.refusals == [503]
        assert seen.refused_p99_ms < REFUSED_MS
        assert await client.ready()
        await until(lambda: _have_ended(event_store, taken), f"all {taken} have succeeded", 120)


async def _have_ended(event_store: EventStore, count: int) -> bool:
    """Also that nothing else was stored."""
    submitted, succeeded, position = 0, 0, 0
    while recorded := await event_store.log.read(position, 1000):
        position = recorded[-1].position
        submitted += sum(isinstance(one.event, ApplicationSubmitted) for one in recorded)
        succeeded += sum(one.event.NAME == "application.succeeded" for one in recorded)
    assert submitted == count
    await asyncio.sleep(0.2)
    return succeeded == count
