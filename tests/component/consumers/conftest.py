"""What relay and worker work with: a log, queues of this test alone, the sandbox portal."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from consumers.portals.sandbox import run as run_sandbox
from domain.commands import ApplicationCommands
from domain.retry import RetryPolicy
from infra.clock import SystemClock
from infra.event_log import EventStore, open_event_log
from infra.local_servers import free_port
from infra.settings import Settings
from tests.evidence import SIGNING_KEY
from tests.queues import Queues


@pytest.fixture(autouse=True)
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this test's checkpoints, and a key beside it: a relay seals its log."""
    folder, key = tmp_path / "audit", tmp_path / "audit-key.pem"
    key.write_text(SIGNING_KEY)
    monkeypatch.setenv("AUDIT_CHECKPOINT_DIR", str(folder))
    monkeypatch.setenv("AUDIT_SIGNING_KEY", str(key))
    return folder


@pytest.fixture
async def queues(rabbitmq_url: str, queue_prefix: str) -> AsyncIterator[Queues]:
    queues = Queues(rabbitmq_url, queue_prefix)
    yield queues
    await queues.remove()


@pytest.fixture
async def event_store(sqlite_url: str) -> AsyncIterator[EventStore]:
    async with open_event_log(sqlite_url) as event_store:
        yield event_store


@pytest.fixture
def commands(event_store: EventStore) -> ApplicationCommands:
    return ApplicationCommands(event_store.log, SystemClock(), RetryPolicy(max_retries=2))


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[str]:
    """The portal's address."""
    port = free_port()
    serving = asyncio.create_task(run_sandbox("127.0.0.1", port, tmp_path / "sandbox.db"))
    async with aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"http://127.0.0.1:{port}/summary"):
                    break
            except aiohttp.ClientError:
                await asyncio.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


@pytest.fixture
def settings(queues: Queues, sandbox: str) -> Settings:
    return queues.settings(
        claim_seconds=1,
        retry_base_delay=0.05,
        retry_max_delay=0.2,
        shutdown_grace_seconds=3,
        max_retries=2,
        mongodb=f"mongodb://127.0.0.1:{free_port()}/?replicaSet=rs0",
        mongo_server_selection_timeout_ms=200,
        sandbox_portal_url=sandbox,
        portals={"blind": {"url": f"{sandbox}/submit-blind", "delivery": "at_most_once"}},
    )
