"""The roles put together: what stops a start for good is one line, an event store that is away is waited for."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import pytest

import api.server  # noqa: F401  a role imports what it runs when it runs, which the guarded loop would take for a wait
from api.cli import roles
from api.cli.ending import CommandFailed
from infra.local_servers import Running, free_port
from infra.settings import Settings
from tests.evidence import SIGNING_KEY
from tests.ports import free_ports
from tests.standalone_mongodb import standalone_mongodb
from tests.tcp_proxy import TcpProxy

RunRole = Callable[[Settings, asyncio.Event], Awaitable[None]]
WITH_A_LOG: dict[str, RunRole] = {
    "serve": roles.serve,
    "project": roles.project,
    "relay": roles.relay,
    "work": roles.work,
}
QUIET: dict[str, Any] = {"worker_metrics_port": 0, "relay_metrics_port": 0, "projector_metrics_port": 0}


@pytest.fixture(autouse=True)
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay seals its log."""
    key = tmp_path / "audit-key.pem"
    key.write_text(SIGNING_KEY)
    monkeypatch.setenv("AUDIT_CHECKPOINT_DIR", str(tmp_path / "audit"))
    monkeypatch.setenv("AUDIT_SIGNING_KEY", str(key))


async def refusal(role: RunRole, settings: Settings) -> str:
    """The line that it ends with."""
    with pytest.raises(CommandFailed) as told:
        async with asyncio.timeout(20):
            await role(settings, asyncio.Event())
    return str(told.value)


async def answer(url: str) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("role", WITH_A_LOG)
async def test_an_sqlite_file_that_cannot_be_used_is_told_and_not_waited_for(role: str, tmp_path: Path) -> None:
    settings = Settings(event_store=f"sqlite:///{tmp_path}", port=free_port(), **QUIET)
    assert await refusal(WITH_A_LOG[role], settings) == "EVENT_STORE cannot be used: unable to open database file"


@pytest.mark.parametrize(
    ("role", "setting"),
    [
        ("serve", "port"),
        ("project", "projector_metrics_port"),
        ("relay", "relay_metrics_port"),
        ("work", "worker_metrics_port"),
    ],
)
async def test_a_taken_port_is_told_with_the_setting_that_chooses_another(
    role: str, setting: str, sqlite_url: str
) -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as taken:
        port = taken.sockets[0].getsockname()[1]
        settings = Settings(event_store=sqlite_url, **{**QUIET, "port": free_port(), setting: port})
        told = await refusal(WITH_A_LOG[role], settings)
    assert told.startswith(f"Cannot listen at 127.0.0.1 port {port}: ")
    assert told.endswith(f"(choose another: {setting.upper()}=...)")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("portals", {"acme": {"adapter": "pigeon", "url": "http://127.0.0.1/"}}),
        ("document_writer", "goose"),
    ],
)
async def test_a_portal_or_writer_that_is_not_there_stops_the_worker(setting: str, value: Any, sqlite_url: str) -> None:
    settings = Settings(event_store=sqlite_url, **QUIET, **{setting: value})
    told = await refusal(roles.work, settings)
    assert told.startswith(f"{setting.upper()}: ")
    assert "\n" not in told


async def test_the_sandbox_tells_a_taken_port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(roles, "SANDBOX_DATABASE", tmp_path / "sandbox.db")
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as taken:
        port = taken.sockets[0].getsockname()[1]
        told = await refusal(roles.sandbox, Settings(sandbox_portal_port=port))
    assert told == f"Cannot listen at 127.0.0.1 port {port}: Address already in use (SANDBOX_PORTAL_PORT)"


@pytest.mark.parametrize("role", WITH_A_LOG)
async def test_an_address_of_mongodb_that_its_client_refuses_is_told(role: str, sqlite_url: str) -> None:
    settings = Settings(event_store=sqlite_url, mongodb="mongodb://no-password@127.0.0.1/", port=free_port(), **QUIET)
    told = await refusal(WITH_A_LOG[role], settings)
    assert told == "MONGODB cannot be used: its user, password or options do not go together"


async def test_a_standalone_mongodb_stops_every_role(
    sqlite_url: str, rabbitmq_url: str, mongodb_server: Running, tmp_path: Path
) -> None:
    port, own = free_ports(2)
    settings = Settings(event_store=sqlite_url, mongodb=at(port), rabbitmq_url=rabbitmq_url, port=own, **QUIET)
    async with standalone_mongodb(mongodb_server, tmp_path, port):
        for role in WITH_A_LOG.values():
            assert "--replSet" in await refusal(role, settings)


async def test_a_relay_goes_on_without_mongodb_until_a_standalone_one_comes(
    sqlite_url: str, rabbitmq_url: str, mongodb_server: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    settings = Settings(
        event_store=sqlite_url,
        mongodb=at(port),
        mongo_server_selection_timeout_ms=200,
        rabbitmq_url=rabbitmq_url,
        **QUIET,
    )
    running = asyncio.create_task(roles.relay(settings, asyncio.Event()))
    async with asyncio.timeout(20):
        while "the reconciler waits" not in caplog.text:
            await asyncio.sleep(0.05)
    assert not running.done()
    async with standalone_mongodb(mongodb_server, tmp_path, port), asyncio.timeout(30):
        with pytest.raises(CommandFailed, match="--replSet"):
            await running


async def test_an_event_store_that_is_away_is_waited_for_alive_and_not_ready(
    postgresql_server: Running, postgresql_url: str, rabbitmq_url: str
) -> None:
    health, later = free_ports(2)
    parts = urlsplit(postgresql_url)
    at_the_proxy = urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{later}"))
    settings = Settings(event_store=at_the_proxy, rabbitmq_url=rabbitmq_url, relay_metrics_port=health)
    stop = asyncio.Event()
    running = asyncio.create_task(roles.relay(settings, stop))
    await _until_it_answers(f"http://127.0.0.1:{health}/health/live", 200)
    status, body = await answer(f"http://127.0.0.1:{health}/health/ready")
    assert (status, body["checks"]) == (503, {"event_store": "not_ready"})
    assert parts.hostname
    assert parts.port
    async with TcpProxy(parts.hostname, parts.port, own_port=later):
        await _until_it_answers(f"http://127.0.0.1:{health}/health/ready", 200)
        stop.set()
        async with asyncio.timeout(20):
            await running


async def test_a_role_that_waits_for_its_event_store_ends_when_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(roles, "FIRST_PAUSE", 60)
    settings = Settings(event_store=f"postgresql://me:secret@127.0.0.1:{free_port()}/events", **QUIET)
    stop = asyncio.Event()
    running = asyncio.create_task(roles.relay(settings, stop))
    async with asyncio.timeout(20):
        while "the event store is away" not in caplog.text:
            await asyncio.sleep(0.05)
    stop.set()
    async with asyncio.timeout(20):
        await running


def at(port: int) -> str:
    return f"mongodb://127.0.0.1:{port}/"


async def _until_it_answers(url: str, status: int) -> None:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                if (await answer(url))[0] == status:
                    return
            await asyncio.sleep(0.05)
