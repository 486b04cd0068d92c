"""Reads of one application's status: how many a second, and what is left of that with rate limits on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.bench.http_load import Orders, Seen, get, in_own_process
from tests.bench.report import Row
from tests.bench.servers import Servers
from tests.bench.submit import service
from tests.end_to_end.service import Client, token, until
from tests.ports import free_ports

USERS, COUNT, WARM_UP, CONNECTIONS = 200, 40_000, 4_000, 64
ONE_JOB = "Baker"

Paths = dict[str, str]  # of a user, where the status of his application is


async def without_limits(on: Servers) -> Sequence[Row]:
    async with _submitted(on) as (client, _, paths):
        seen = await _read(client.url, paths)
    conditions = f"one API process, {COUNT:,} reads, {CONNECTIONS} connections, {USERS} users, projector running"
    return [Row("status_rps", seen.rate, "requests/s", "≥ 4000", f"{conditions}; p99 {seen.p99_ms:.0f} ms")]


async def with_limits(on: Servers) -> Sequence[Row]:
    """By the limits of the defaults, in turn with an API process that has none, so that both meet the same machine."""
    async with _submitted(on) as (client, limited, paths):
        before = await _read(client.url, paths)
        with_them = await _read(limited, paths)
        after = await _read(client.url, paths)
    without = (before.rate + after.rate) / 2
    conditions = (
        f"{COUNT:,} status reads each, {CONNECTIONS} connections, {USERS} users of whom none is near his limit: "
        f"{with_them.rate:,.0f}/s with limits (p99 {with_them.p99_ms:.0f} ms), {without:,.0f}/s without"
    )
    return [Row("rate_limit_ratio", with_them.rate / without, "", "≥ 0.5", conditions)]


@asynccontextmanager
async def _submitted(on: Servers) -> AsyncIterator[tuple[Client, str, Paths]]:
    """An API without limits, the address of another with them, and an application of each user in the read models."""
    async with service(on, on.fresh_sqlite(), "api", "projector") as (made, client):
        [limited] = map(str, free_ports(1))
        await made.start("api-limited", PORT=limited, RATE_LIMIT_ENABLED="true")
        paths: Paths = {}
        for number in range(USERS):
            client.user = f"user-{number}"
            paths[client.user] = f"/applications/{await client.submit(ONE_JOB)}/status"
        async with Client(f"http://127.0.0.1:{limited}", "") as other:
            await until(other.ready, f"the API with limits is ready:\n{made.log('api-limited')}")
        await asyncio.sleep(1)  # the projector catches up
        yield client, f"http://127.0.0.1:{limited}", paths


async def _read(url: str, paths: Paths) -> Seen:
    host = url.removeprefix("http://")
    requests = [get(host, token(user), path) for user, path in paths.items()]
    await in_own_process(Orders(url, requests, WARM_UP))
    seen = await in_own_process(Orders(url, requests, COUNT, connections=CONNECTIONS))
    if seen.refused:
        raise RuntimeError(f"{seen.refused} reads were refused")
    return seen
