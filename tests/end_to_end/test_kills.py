"""kill -9 in mid-load: nothing answered is lost, nothing is taken twice by the portal's own list, all ends."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.end_to_end.load import load, reached
from tests.end_to_end.service import Client, Service

BETWEEN_KILLS = int(os.environ.get("KILL_LOAD", "25"))  # submissions


@pytest.fixture
def service(tmp_path: Path, mongodb_uri: str, mongo_database: str, rabbitmq_url: str, event_store_url: str) -> Service:
    return Service.on(
        tmp_path, mongodb=mongodb_uri, database=mongo_database, rabbitmq=rabbitmq_url, event_store=event_store_url
    )


@pytest.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    async with service.running() as client:
        yield client


@pytest.mark.timeout(180)
async def test_each_role_is_killed_once_in_mid_load(service: Service, client: Client) -> None:
    async with load(client, titles=("Baker", "Miller [slow:0.1]", "Cook [drop]")) as ledger:
        for role in ("worker", "projector", "relay", "api", "sandbox"):
            await reached(ledger, BETWEEN_KILLS)
            await service.kill(role)
            await service.start(role)
        await reached(ledger, BETWEEN_KILLS)

    assert set(ledger.refusals) <= {0, 503}, "every answer is a 2xx, an honest 503, or a connection that was killed"
    ended = await client.all_ended(ledger.answered)
    assert set(ended.values()) == {"success"}
    await then_the_portal_has_each_job_once(client, ledger.answered)
    await then_the_lists_tell_the_same(client, ledger.answered)


async def then_the_portal_has_each_job_once(client: Client, answered: list[str]) -> None:
    received = {entry["entry_id"]: entry for entry in await client.received()}
    assert {f"{id}-{n}" for id in answered for n in (1, 2, 3)} <= set(received)
    assert {entry["taken"] for entry in received.values()} == {1}
    assert all(len(entry["idempotency_keys"]) == 1 for entry in received.values())
    assert (await client.portal("/summary"))["taken_twice"] == 0


async def then_the_lists_tell_the_same(client: Client, answered: list[str]) -> None:
    listed = await client.entries("/applied")
    assert {f"{id}-{n}" for id in answered for n in (1, 2, 3)} <= set(listed)
    assert await client.entries("/fail_applied") == {}
