"""What probes and Prometheus see of worker, relay and projector, over real HTTP (contract config.md, metrics.md)."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from infra import metrics
from infra.local_servers import free_port
from infra.metric_kinds import Role
from infra.role_server import STUCK_SECONDS, CannotListen, Heartbeat, Readiness, role_server

HOST = "127.0.0.1"


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


async def all_well() -> Mapping[str, bool]:
    return {"mongodb": True, "event_store": True}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5)) as session:
        yield session


async def get(
    http: aiohttp.ClientSession, path: str, heartbeat: Heartbeat, ready: Readiness = all_well
) -> tuple[int, Any]:
    port = free_port()
    async with (
        role_server(heartbeat, ready, host=HOST, port=port, check_seconds=0.1),
        http.get(f"http://{HOST}:{port}{path}") as response,
    ):
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else await response.text()


async def test_a_role_whose_loop_turns_is_alive(http: aiohttp.ClientSession) -> None:
    clock = Clock()
    heartbeat = Heartbeat(Role.WORKER, clock)
    clock.seconds += STUCK_SECONDS - 0.001
    status, body = await get(http, "/health/live", heartbeat)
    assert (status, body["status"]) == (200, "alive")
    assert body["timestamp"].endswith("Z")


async def test_a_role_whose_loop_stands_is_not_alive_until_it_turns_again(http: aiohttp.ClientSession) -> None:
    clock = Clock()
    heartbeat = Heartbeat(Role.WORKER, clock)
    clock.seconds += STUCK_SECONDS
    assert (await get(http, "/health/live", heartbeat))[0] == 503
    heartbeat.beat()
    assert (await get(http, "/health/live", heartbeat))[0] == 200


async def test_it_is_ready_when_all_that_it_needs_can_be_used(http: aiohttp.ClientSession) -> None:
    status, body = await get(http, "/health/ready", Heartbeat(Role.RELAY))
    assert (status, body["status"]) == (200, "ready")
    assert body["checks"] == {"mongodb": "ready", "event_store": "ready"}


async def test_it_is_not_ready_when_one_thing_is_away(http: aiohttp.ClientSession) -> None:
    async def one_away() -> Mapping[str, bool]:
        return {"mongodb": False, "event_store": True}

    status, body = await get(http, "/health/ready", Heartbeat(Role.RELAY), one_away)
    assert (status, body["status"]) == (503, "not_ready")
    assert body["checks"] == {"mongodb": "not_ready", "event_store": "ready"}


async def test_what_a_role_says_of_itself_counts(http: aiohttp.ClientSession) -> None:
    heartbeat = Heartbeat(Role.WORKER, needs=["rabbitmq"])
    status, body = await get(http, "/health/ready", heartbeat)
    assert (status, body["checks"]["rabbitmq"]) == (503, "not_ready")
    heartbeat.says("rabbitmq", True)
    status, body = await get(http, "/health/ready", heartbeat)
    assert (status, body["checks"]["rabbitmq"]) == (200, "ready")


async def test_a_check_that_fails_or_hangs_is_not_ready(http: aiohttp.ClientSession) -> None:
    async def fails() -> Mapping[str, bool]:
        raise ConnectionError("secret address")

    async def hangs() -> Mapping[str, bool]:
        await asyncio.Event().wait()
        return {}

    for ready in (fails, hangs):
        status, body = await get(http, "/health/ready", Heartbeat(Role.RELAY), ready)
        assert (status, body["checks"]) == (503, {"role": "not_ready"})


async def test_each_role_serves_what_it_moves(http: aiohttp.ClientSession) -> None:
    metrics.WORKER_RETRY_TOTAL.inc(worker_name=metrics.APPLICATION_WORKER, attempt=1)
    status, worker = await get(http, "/metrics", Heartbeat(Role.WORKER))
    _, relay = await get(http, "/metrics", Heartbeat(Role.RELAY))
    assert status == 200
    assert 'worker_retry_total{attempt="1",worker_name="application_worker"}' in worker
    assert "worker_retry_total" not in relay
    assert 'role_last_turn_timestamp_seconds{role="relay"}' in relay
    assert "process_resident_memory_bytes" in worker


async def test_prometheus_is_told_the_format(http: aiohttp.ClientSession) -> None:
    port = free_port()
    async with (
        role_server(Heartbeat(Role.WORKER), all_well, host=HOST, port=port, check_seconds=1),
        http.get(f"http://{HOST}:{port}/metrics") as response,
    ):
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_a_taken_port_is_one_line(http: aiohttp.ClientSession) -> None:
    heartbeat = Heartbeat(Role.WORKER)
    with socket.socket() as holder:
        holder.bind((HOST, 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(CannotListen) as caught:
            async with role_server(heartbeat, all_well, host=HOST, port=port, check_seconds=1):
                pytest.fail("it does not serve")
    assert str(caught.value) == f"Cannot listen at {HOST} port {port}: the port is taken"


async def test_an_address_of_another_machine_is_one_line() -> None:
    with pytest.raises(CannotListen, match=r"^Cannot listen at 192\.0\.2\.1 port 9109: [^\n]+$"):
        async with role_server(Heartbeat(Role.WORKER), all_well, host="192.0.2.1", port=9109, check_seconds=1):
            pytest.fail("it does not serve")


async def test_port_0_is_off() -> None:
    async with role_server(Heartbeat(Role.WORKER), all_well, host="192.0.2.1", port=0, check_seconds=1):
        pass


async def test_the_port_is_free_again_afterwards(http: aiohttp.ClientSession) -> None:
    port = free_port()
    for _ in range(2):
        async with (
            role_server(Heartbeat(Role.WORKER), all_well, host=HOST, port=port, check_seconds=1),
            http.get(f"http://{HOST}:{port}/health/live") as response,
        ):
            assert response.status == 200
