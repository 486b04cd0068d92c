"""Waiting for the roles of `up`: over a real server that is not ready, then is."""

import asyncio

import pytest
from aiohttp import web

from api.cli import readiness
from api.cli.addresses import Address
from api.cli.readiness import wait_until_ready
from api.cli.role_plan import Role
from infra.local_servers import free_port


def a_role(port: int | None) -> Role:
    address = Address("0.0.0.0", port) if port else None
    return Role("api", "serve", address, "port", "/health/ready")


async def test_it_says_for_what_it_waits_and_returns_when_all_are_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_TELL_EVERY_SECONDS", 0.0)
    bodies: list[dict[str, object]] = [
        {"checks": {"mongodb": "not_ready", "rabbitmq": "ready", "event_store": "not_ready"}},
        {"status": "closing"},
    ]

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(bodies.pop(0), status=503) if bodies else web.json_response({"status": "ready"})

    told: list[str] = []
    ready: list[str] = []
    port = free_port()
    waiting = asyncio.create_task(
        wait_until_ready([a_role(port), a_role(None)], lambda role: ready.append(str(role.url)), told.append)
    )
    async with asyncio.timeout(10):
        while not told:
            await asyncio.sleep(0.01)
    app = web.Application()
    app.router.add_get("/health/ready", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async with asyncio.timeout(10):
        await waiting
    await runner.cleanup()
    assert ready == ["None", f"http://127.0.0.1:{port}"]
    reasons = [line.removeprefix("Still waiting for the api: ").partition(" (log")[0] for line in told]
    assert list(dict.fromkeys(reasons)) == [
        "it does not answer",
        "mongodb, event_store not ready",
        "it answers 503",
    ]
