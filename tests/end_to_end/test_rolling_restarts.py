"""Rolling restarts under load, and a new release beside the one before it: no request fails, nothing lost or twice."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.end_to_end.rolling import PORT_OF, Replicas, going_on, reached, then_nothing_is_lost_or_done_twice
from tests.end_to_end.service import Client, Service
from tests.releases import NoHistory, newest_release, unpack

ROUNDS = int(os.environ.get("RESTART_ROUNDS", "2"))
BETWEEN = 10  # submissions, before the next process is stopped
NAMES = [f"{role}-{number}" for role in PORT_OF for number in (1, 2)]

pytestmark = pytest.mark.timeout(300 + 60 * ROUNDS)


@pytest.fixture
async def replicas(
    tmp_path: Path, mongodb_uri: str, mongo_database: str, rabbitmq_url: str, deployed_store_url: str
) -> AsyncIterator[Replicas]:
    """None but the sandbox portal runs yet."""
    service = Service.on(
        tmp_path,
        mongodb=mongodb_uri,
        database=mongo_database,
        rabbitmq=rabbitmq_url,
        event_store=deployed_store_url,
        READ_WAIT_SECONDS="10",  # a standby projector takes over within a second, but this machine may be busy
    )
    async with service.ending(), Client(service.url, service.sandbox_url) as client:
        replicas = Replicas(service, client)
        await service.start("sandbox")
        yield replicas


async def start_all(replicas: Replicas, names: list[str], code: Path | None = None) -> None:
    for name in reversed(names):  # an API is ready once there are read models
        await replicas.start(name, code)
    replicas.client.url = replicas.addresses[0]


async def test_each_process_is_restarted_in_turn_under_load(replicas: Replicas) -> None:
    await start_all(replicas, NAMES)
    async with going_on(replicas) as users:
        for _ in range(ROUNDS):
            for name in NAMES:
                await reached(users, BETWEEN)
                await replicas.replace(name)
        await reached(users, BETWEEN)
    await then_nothing_is_lost_or_done_twice(replicas.client, users)


async def test_the_release_before_and_this_one_work_side_by_side(replicas: Replicas, tmp_path: Path) -> None:
    try:
        before = unpack(newest_release(), tmp_path)
    except NoHistory as error:
        pytest.skip(str(error))
    first, second = NAMES[::2], NAMES[1::2]
    await start_all(replicas, first, before)
    await start_all(replicas, second)
    async with going_on(replicas) as users:
        await reached(users, 10 * BETWEEN)
        for name in first:  # the upgrade goes on; the API of before closed connections under requests just being sent
            await replicas.replace_behind_balancer(name)
            await reached(users, BETWEEN)
        for name in first:  # and is taken back
            await replicas.replace(name, before)
            await reached(users, BETWEEN)
    await then_nothing_is_lost_or_done_twice(replicas.client, users)
