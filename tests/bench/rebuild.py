"""How fast all read models are built anew beside the live ones, while the service is read and written."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

from infra.clock import SystemClock
from infra.event_log import open_event_log
from infra.memory import rare_collections
from infra.mongo import Mongo
from projections.read_models import READ_MODELS
from projections.rebuild import rebuild
from projections.verify import Workplace
from tests.bench.http_load import Orders, get, in_own_process
from tests.bench.library_runner import events_a_second
from tests.bench.projection import EVENTS_EACH, fill
from tests.bench.report import Row
from tests.bench.servers import Servers
from tests.bench.submit import service
from tests.end_to_end.service import Client, token

APPLICATIONS, LIBRARY_APPLICATIONS = 10_000, 300
READS_A_SECOND, SUBMISSIONS_A_SECOND = 50.0, 10.0
LEASE_SECONDS = 5.0


class Stages:
    """When each stage began."""

    def __init__(self) -> None:
        self.began: list[float] = []

    def stage(self, name: str, start: int, goal: int) -> Callable[[int], None]:
        self.began.append(time.perf_counter())
        return lambda _: None


async def measure(on: Servers) -> Sequence[Row]:
    url = on.fresh_sqlite()
    events = await fill(url, APPLICATIONS)
    clock, stages = SystemClock(), Stages()
    async with service(on, url, "api", "projector") as (made, client):
        database = made.settings["MONGODB_DATABASE"]
        async with open_event_log(url) as store, Mongo(on.mongodb.url, database) as mongo, _used(client):
            at = Workplace(store.log, mongo, clock.new_id(clock.now()).hex, LEASE_SECONDS, stages)
            with rare_collections():
                began = time.perf_counter()
                switched = await rebuild(at, READ_MODELS, "bench", keep=False)
                seconds = time.perf_counter() - began
    if any(one.comparison is None or not one.comparison.equal for one in switched):
        raise RuntimeError("the rebuilt read models differ from the live ones")
    folding, _, comparing, *_ = stages.began
    library = await _library(on)
    conditions = (
        f"{events:,} events in SQLite, {EVENTS_EACH} an application, {len(READ_MODELS)} read models in one process, "
        f"beside an API ({READS_A_SECOND:.0f} reads and {SUBMISSIONS_A_SECOND:.0f} submissions a second) and a "
        f"projector; folded and indexed in {comparing - folding:.1f} s, compared and switched after {seconds:.1f} s; "
        f"the library's ProjectionRunner: {library:,.0f} events/s"
    )
    return [Row("rebuild_eps", events / (comparing - folding), "events/s", "≥ 25000", conditions)]


@asynccontextmanager
async def _used(client: Client) -> AsyncIterator[None]:
    """Somebody reads and somebody submits, until the end."""
    host = client.url.removeprefix("http://")
    reads = [get(host, token(f"user-{number}"), path) for number in range(50) for path in ("/applied", "/applications")]

    async def read() -> None:
        await in_own_process(Orders(client.url, reads, 1_000_000, connections=4, per_second=READS_A_SECOND))

    async def submit() -> None:
        while True:
            await client.submit("Baker")
            await asyncio.sleep(1 / SUBMISSIONS_A_SECOND)

    tasks = [asyncio.create_task(read()), asyncio.create_task(submit())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _library(on: Servers) -> float:
    url = on.fresh_postgresql()
    head = await fill(url, LIBRARY_APPLICATIONS)
    return await asyncio.to_thread(events_a_second, url, on.mongodb.url, f"bench_{uuid4().hex[:8]}", head)
