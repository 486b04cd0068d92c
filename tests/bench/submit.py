"""Durable submissions over HTTP, how soon they can be read, how fast a worker ends them, and what memory it takes."""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from pymongo import AsyncMongoClient

from projections import status
from projections.view import BuildName
from tests.bench.http_load import Orders, Seen, in_own_process, post_application
from tests.bench.report import Row
from tests.bench.servers import Servers
from tests.end_to_end.service import Client, Service, token, until
from tests.releases import ROOT

COUNT, WARM_UP, CONNECTIONS = 15_000, 1_500, 64
KEYED_COUNT = 6_000
VISIBLE_COUNT, VISIBLE_PER_SECOND = 5_000, 500.0
WORKER_COUNT = 4_000
MEMORY_COUNT, MEMORY_PER_SECOND = 100_000, 700.0
NEW_APPLICATION = {"operationType": "insert", "fullDocument.user_id": {"$exists": True}}
JOBS = json.dumps({"jobs": [{"title": "Baker", "portal": "sandbox", "company_name": "Bread & Co", "location": "Graz"}]})


def orders(client: Client, count: int, **more: float | int) -> Orders:
    host = client.url.removeprefix("http://")
    requests = [post_application(host, token(f"user-{n}"), JOBS) for n in range(50)]
    return Orders(client.url, requests, count, **more)  # type: ignore[arg-type]


@asynccontextmanager
async def service(
    servers: Servers, event_store: str, *roles: str, code: Path = ROOT, **settings: str
) -> AsyncIterator[tuple[Service, Client]]:
    """A fresh service on these servers."""
    folder = servers.folder / f"service-{uuid4().hex[:8]}"
    folder.mkdir()
    made = Service.on(
        folder,
        mongodb=servers.mongodb.url,
        database=f"bench_{uuid4().hex[:8]}",
        rabbitmq=servers.rabbitmq.url,
        event_store=event_store,
        LOG_LEVEL="INFO",
        **settings,
    )
    made.code = code
    async with made.running(*roles) as client:
        yield made, client


async def _submitted(servers: Servers, event_store: str, *roles: str) -> Seen:
    async with service(servers, event_store, *roles) as (_, client):
        await in_own_process(orders(client, WARM_UP))
        seen = await in_own_process(orders(client, COUNT, connections=CONNECTIONS))
    if seen.refused:
        raise RuntimeError(f"{seen.refused} submissions were refused")
    return seen


async def on_sqlite(servers: Servers) -> Sequence[Row]:
    seen = await _submitted(servers, servers.fresh_sqlite(), "api", "projector", "relay")
    conditions = f"{COUNT:,} multipart submissions, {CONNECTIONS} connections, projector and relay running"
    return [
        Row("submit_sqlite_rps", seen.rate, "requests/s", "≥ 1500", conditions),
        Row("submit_sqlite_p99_ms", seen.p99_ms, "ms", "< 100", conditions),
    ]


async def on_postgres(servers: Servers) -> Sequence[Row]:
    seen = await _submitted(servers, servers.fresh_postgresql(), "api", "projector", "relay")
    conditions = f"{COUNT:,} multipart submissions, {CONNECTIONS} connections, projector and relay running"
    return [
        Row("submit_postgres_rps", seen.rate, "requests/s", "≥ 1000", conditions),
        Row("submit_postgres_p99_ms", seen.p99_ms, "ms", "< 150", conditions),
    ]


async def alone(servers: Servers) -> Sequence[Row]:
    seen = await _submitted(servers, servers.fresh_sqlite(), "api")
    conditions = f"{COUNT:,} multipart submissions, {CONNECTIONS} connections, projector and relay stopped"
    return [Row("submit_alone_rps", seen.rate, "requests/s", "≥ 3000", conditions)]


async def overload(servers: Servers) -> Sequence[Row]:
    """Ten times the callers, who come again when `Retry-After` says."""
    callers = 10 * CONNECTIONS
    async with service(servers, servers.fresh_sqlite(), "api", "projector", "relay") as (_, client):
        await in_own_process(orders(client, WARM_UP))
        seen = await in_own_process(orders(client, COUNT, connections=callers, patient=True))
    conditions = (
        f"{COUNT:,} submissions of {callers} callers, {seen.refused:,} refused with {seen.refusals or 'nothing'}, "
        f"{(seen.done - seen.refused) / seen.seconds:,.0f} taken a second; projector and relay running"
    )
    return [Row("overload_refused_p99_ms", seen.refused_p99_ms, "ms", "< 500", conditions)]


async def idempotent(servers: Servers) -> Sequence[Row]:
    """In turn on one service, so that both meet the same machine."""
    async with service(servers, servers.fresh_sqlite(), "api", "projector", "relay") as (_, client):
        await in_own_process(orders(client, WARM_UP))
        without = await in_own_process(orders(client, KEYED_COUNT))
        host, user = client.url.removeprefix("http://"), token("user-0")
        requests = [post_application(host, user, JOBS, uuid4().hex) for _ in range(KEYED_COUNT)]
        keyed = await in_own_process(Orders(client.url, requests, KEYED_COUNT))
    if keyed.refused or without.refused:
        raise RuntimeError(f"{keyed.refused + without.refused} submissions were refused")
    conditions = f"{KEYED_COUNT:,} submissions each, {keyed.rate:,.0f}/s with a key, {without.rate:,.0f}/s without"
    return [Row("idempotent_submit_ratio", keyed.rate / without.rate, "", "≥ 0.7", conditions)]


async def visible(servers: Servers) -> Sequence[Row]:
    """Later by the way of the change stream that tells of it, so rather too much than too little."""
    async with service(servers, servers.fresh_sqlite(), "api", "projector", "relay") as (made, client):
        await in_own_process(orders(client, WARM_UP))
        mongo: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(servers.mongodb.url, tz_aware=True)
        collection = mongo[made.settings["MONGODB_DATABASE"]][str(BuildName(status.NAME, status.VERSION, 1))]
        delays: list[float] = []
        watching = asyncio.Event()

        async def watch() -> None:
            async with await collection.watch([{"$match": NEW_APPLICATION}]) as changes:
                watching.set()
                async for change in changes:
                    # created_at is before the 200 by what the append took: the delay is told too large by it
                    age = datetime.now(UTC) - change["fullDocument"]["created_at"]
                    delays.append(1000 * age.total_seconds())
                    if len(delays) == VISIBLE_COUNT:
                        return

        watcher = asyncio.create_task(watch())
        await watching.wait()
        seen = await in_own_process(orders(client, VISIBLE_COUNT, per_second=VISIBLE_PER_SECOND))
        await asyncio.wait_for(watcher, 30)
        await mongo.close()
    delays.sort()
    conditions = f"from acceptance to the change stream, {seen.rate:,.0f} submissions/s, projector and relay running"
    return [Row("visible_p99_ms", delays[int(len(delays) * 0.99)], "ms", "< 150", conditions)]


async def worker(servers: Servers) -> Sequence[Row]:
    event_store = servers.fresh_sqlite()
    path = event_store.removeprefix("sqlite:///")
    async with service(servers, event_store, "api", "projector", "relay", "sandbox") as (made, client):
        await in_own_process(orders(client, WORKER_COUNT))
        await asyncio.sleep(5)  # the relay and the projector catch up
        began = time.perf_counter()
        await made.start("worker")
        await until(lambda: _succeeded(path, 200), "the worker has begun")
        first, since = await asyncio.to_thread(_count, path), time.perf_counter()
        await until(lambda: _succeeded(path, WORKER_COUNT), "all have succeeded", 120)
        seconds = time.perf_counter() - since
    conditions = (
        f"{WORKER_COUNT:,} waiting applications of one job, SQLite, sandbox portal over HTTP, projector and relay "
        f"running; first 200 after {since - began:.1f} s"
    )
    return [Row("worker_aps", (WORKER_COUNT - first) / seconds, "applications/s", "≥ 400", conditions)]


async def _succeeded(path: str, count: int) -> bool:
    return await asyncio.to_thread(_count, path) >= count


def _count(path: str) -> int:
    with closing(sqlite3.connect(path)) as log:
        [(count,)] = log.execute("SELECT count(*) FROM stored_events WHERE topic = 'application.succeeded'").fetchall()
        return int(count)


async def memory(servers: Servers) -> Sequence[Row]:
    async with service(servers, servers.fresh_sqlite()) as (made, client):
        await in_own_process(orders(client, MEMORY_COUNT // 2, per_second=MEMORY_PER_SECOND))
        half = _resident(made)
        await in_own_process(orders(client, MEMORY_COUNT // 2, per_second=MEMORY_PER_SECOND))
        whole = _resident(made)
    role = max(whole, key=lambda name: whole[name])
    growth = {name: whole[name] - half[name] for name in whole}
    told = ", ".join(f"{name} {whole[name]:.0f} ({growth[name]:+.1f})" for name in whole)
    conditions = f"{MEMORY_COUNT:,} submissions, all roles; after all (since the half): {told}"
    return [Row("rss_mib", whole[role], "MiB", "< 200", conditions)]


def _resident(made: Service) -> dict[str, float]:
    """MiB of each role."""
    return {
        role: int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096 / 2**20
        for role, process in made.processes.items()
    }
