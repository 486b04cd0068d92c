"""Prometheus reads the roles of a running service: what alerts and dashboards ask for is there, and alerts fire."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from tests.deploy.prometheus_server import POLL_SECONDS, SECONDS, Prometheus
from tests.deploy.promql import PARTS, declared, names_in, rules_of
from tests.deploy.test_grafana import OBJECTIVES, PANELS, RECORDED
from tests.deploy.tools import MONITORING
from tests.end_to_end.service import Client, Service

MOVED_BY_WHAT_DOES_NOT_HAPPEN_HERE = {
    "queue_publish_failures_total",  # a broker that refuses
    "rate_limit_exceeded_total",  # too many requests
}
PORTS = ("PORT", "WORKER_METRICS_PORT", "RELAY_METRICS_PORT", "PROJECTOR_METRICS_PORT")
OF_A_WORKER_THAT_IS_GONE = {"ServiceDown", "WorkerNotActive", "RoleStuck"}


@dataclass(frozen=True, slots=True)
class Watched:
    service: Service
    client: Client
    prometheus: Prometheus


@pytest.fixture
async def watched(
    tmp_path: Path, mongodb_uri: str, mongo_database: str, rabbitmq_url: str, sqlite_url: str
) -> AsyncIterator[Watched]:
    service = Service.on(
        tmp_path, mongodb=mongodb_uri, database=mongo_database, rabbitmq=rabbitmq_url, event_store=sqlite_url
    )
    targets = [f"127.0.0.1:{service.settings[name]}" for name in PORTS]
    async with service.running() as client, Prometheus.reading(targets, tmp_path) as prometheus:
        yield Watched(service, client, prometheus)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await _holds(condition):
            await asyncio.sleep(POLL_SECONDS)


async def has_consumed(prometheus: Prometheus, messages: int) -> bool:
    return sum(value for _, value in await prometheus.query("queue_messages_consumed_total")) >= messages


async def _holds(condition: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await condition()
    except (OSError, aiohttp.ClientError):  # it has not begun to listen, or to answer
        return False


def asked_for() -> set[str]:
    """By alerts, recorded series, dashboard and objectives."""
    expressions = [rule["expr"] for rule in (*rules_of(MONITORING / "prometheus-alerts.yaml"), *RECORDED)]
    expressions += [query["expr"] for panel in PANELS.values() for query in panel["queries"]]
    expressions += [told["indicator"] for told in OBJECTIVES.values()]
    return {name for expression in expressions for name in names_in(expression)}


@pytest.mark.timeout(400)  # it waits SECONDS at most, each time
async def test_all_that_is_asked_for_is_there_and_a_worker_that_is_gone_is_told(watched: Watched) -> None:
    prometheus = watched.prometheus

    async def all_are_read() -> bool:
        return [value for _, value in await prometheus.query("up")] == [1] * len(PORTS)

    await until(all_are_read)
    for number in range(3):  # a series that rises, not one that appears
        ids = [await watched.client.submit(f"Baker {number}"), await watched.client.submit(f"Miller {number} [reject]")]
        await watched.client.all_ended(ids)
        await until(partial(has_consumed, prometheus, 2 * (number + 1)))
    wanted = asked_for() - MOVED_BY_WHAT_DOES_NOT_HAPPEN_HERE

    async def all_is_there() -> bool:
        seen = await prometheus.names()
        bases = seen | {name.removesuffix(part) for name in seen for part in PARTS}
        return wanted <= bases

    await until(all_is_there)
    assert declared().keys() >= MOVED_BY_WHAT_DOES_NOT_HAPPEN_HERE
    assert not await prometheus.firing() & OF_A_WORKER_THAT_IS_GONE

    await watched.service.kill("worker")

    async def it_is_told() -> bool:
        return await prometheus.firing() >= OF_A_WORKER_THAT_IS_GONE

    await until(it_is_told)
    await watched.service.start("worker")

    async def all_is_well_again() -> bool:
        return not await prometheus.firing() & OF_A_WORKER_THAT_IS_GONE

    await until(all_is_well_again)
