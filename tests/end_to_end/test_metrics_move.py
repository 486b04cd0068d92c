"""Every published metric is there on each role that serves it, and moves by what it tells (contract metrics.md 1).

What only a store in trouble moves is moved in component tests; here each of these is there.
"""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path

import aio_pika
import pytest

from infra.metric_kinds import Gauge, Histogram, Role
from tests.contract.test_metrics_table import DECLARED
from tests.end_to_end.service import Client, Service, TookTooLong, token, until
from tests.pdfs import MARY, a_pdf

PORTS = {
    Role.API: "PORT",
    Role.WORKER: "WORKER_METRICS_PORT",
    Role.RELAY: "RELAY_METRICS_PORT",
    Role.PROJECTOR: "PROJECTOR_METRICS_PORT",
}
MOVED_ELSEWHERE = {
    "audit_unsealed_seconds": "tests/component/consumers/test_sealer.py",
    "outbox_pending": "tests/component/consumers/test_relay.py",
    "outbox_oldest_seconds": "tests/component/consumers/test_relay.py",
    "parked_streams": "tests/component/test_projector_trouble.py",
    "rate_limit_store_errors_total": "tests/component/test_api_outages.py",
}
OF_A_PROJECTOR_THAT_IS_GONE = {"projection_lag_events of api", "projection_lag_seconds of api"}
LIMIT = 12  # applications of a user in an hour
SAMPLE = re.compile(r"^([a-z_]+)(\{.*\})? (\S+)$", re.MULTILINE)
REFRESHED_SECONDS = 60.0  # the API looks every 15

Samples = dict[tuple[str, str], float]  # by name and labels
Look = Callable[[Iterable[Role]], Awaitable[None]]


@pytest.fixture
def service(tmp_path: Path, mongodb_uri: str, mongo_database: str, rabbitmq_url: str, sqlite_url: str) -> Service:
    return Service.on(
        tmp_path,
        mongodb=mongodb_uri,
        database=mongo_database,
        rabbitmq=rabbitmq_url,
        event_store=sqlite_url,
        RATE_LIMIT_ENABLED="true",
        RATE_LIMIT_REQUESTS="100000/hour",
        RATE_LIMIT_APPLICATIONS=f"{LIMIT}/hour",
    )


@pytest.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    async with service.running() as client:
        yield client


async def samples(client: Client, service: Service, role: Role) -> Samples:
    async with client.http.get(f"http://127.0.0.1:{service.settings[PORTS[role]]}/metrics") as response:
        text = await response.text()
    return {(name, labels): float(value) for name, labels, value in SAMPLE.findall(text)}


def series(found: Samples, name: str) -> Samples:
    """Those of a metric; of a histogram, its counts."""
    counted = f"{name}_count" if isinstance(DECLARED[name], Histogram) else name
    return {key: value for key, value in found.items() if key[0] == counted}


@pytest.mark.timeout(300)
async def test_every_metric_moves_on_each_role_that_serves_it(client: Client, service: Service) -> None:
    before = {role: await samples(client, service, role) for role in Role}
    seen = {role: [before[role]] for role in Role}

    async def look(roles: Iterable[Role] = Role) -> None:
        for role in roles:
            seen[role].append(await samples(client, service, role))

    async with client.http.ws_connect(f"{client.url}/ws/status?token={token('grace')}") as socket:
        await socket.receive()  # it is connected
        await look()
    await work_of_every_kind(client, service, look)
    await messages_of_every_kind(service)
    await too_many_requests(client)

    unmoved: set[str] = set()

    async def all_but_the_lag() -> bool:
        await look()
        unmoved.clear()
        for name, metric in DECLARED.items():
            for role in metric.roles:
                if not has_moved(name, series(before[role], name), [series(one, name) for one in seen[role]]):
                    unmoved.add(f"{name} of {role}")
        return unmoved <= OF_A_PROJECTOR_THAT_IS_GONE

    try:
        await until(all_but_the_lag, "", REFRESHED_SECONDS)
    except TookTooLong:
        pytest.fail(f"not moved: {sorted(unmoved)}")
    await then_the_lag_is_told_without_a_projector(client, service)


async def then_the_lag_is_told_without_a_projector(client: Client, service: Service) -> None:
    await service.stop("projector")
    await client.submit("Baker")

    async def lag_is_told() -> bool:
        found = await samples(client, service, Role.API)
        lags = [*series(found, "projection_lag_events").values(), *series(found, "projection_lag_seconds").values()]
        return bool(lags) and all(lag > 0 for lag in lags)

    await until(lag_is_told, "the lag is told", REFRESHED_SECONDS)


def has_moved(name: str, before: Samples, seen: list[Samples]) -> bool:
    """A gauge, away from nothing; all others, upwards since `before`. What is moved elsewhere, is there."""
    if name in MOVED_ELSEWHERE:
        return bool(seen[-1])
    since = {} if isinstance(DECLARED[name], Gauge) else before
    return any(value > since.get(key, 0.0) for one in seen for key, value in one.items())


async def work_of_every_kind(client: Client, service: Service, look: Look) -> None:
    """Taken, with a CV, refused, tried again, repeated; and, while no worker runs, cancelled and pending."""
    await service.stop("worker")
    waiting, cancelled = await client.submit("Clerk"), await client.submit("Cook")
    async with client.http.delete(f"{client.url}/applications/{cancelled}", headers=client.headers) as response:
        assert response.status == 200

    async def it_is_pending() -> bool:
        return sum(series(await samples(client, service, Role.API), "applications_pending_total").values()) > 0

    await until(it_is_pending, "what is pending is told", REFRESHED_SECONDS)
    await look([Role.API])
    await service.start("worker")
    ids = [waiting, await client.submit("Smith", cv=a_pdf(MARY))]
    ids += [await client.submit(*titles) for titles in (("Baker",), ("Miller [reject]",), ("Cook [fail:1]", "Waiter"))]
    await client.all_ended(ids)
    for _ in range(2):
        headers = {**client.headers, "X-Idempotency-Key": "once"}
        form = {"jobs": json.dumps({"jobs": [{"title": "Baker"}]})}
        async with client.http.post(f"{client.url}/applications", data=form, headers=headers) as response:
            assert response.status == 200


async def messages_of_every_kind(service: Service) -> None:
    """One that nobody can read; and a queue that is gone, so that the broker gives a message back."""
    connection = await aio_pika.connect(service.settings["RABBITMQ_URL"])
    async with connection:
        channel = await connection.channel()
        unreadable = aio_pika.Message(b"nonsense")
        await channel.default_exchange.publish(unreadable, service.settings["APPLICATION_PROCESSING_QUEUE"])
        await channel.queue_delete(service.settings["MIDDLEWARE_QUEUE"])


async def too_many_requests(client: Client) -> None:
    headers = {"Authorization": f"Bearer {token('impatient')}"}
    form = {"jobs": json.dumps({"jobs": [{"title": "Baker"}]})}
    for number in range(LIMIT + 1):
        async with client.http.post(f"{client.url}/applications", data=form, headers=headers) as response:
            assert response.status == (200 if number < LIMIT else 429)
