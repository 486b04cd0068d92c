"""Relays and workers as processes, killed with -9 in mid-load: nothing is lost, nothing is sent twice (design 2)."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest

from domain.application import Application
from domain.application_events import Status
from domain.commands import ApplicationCommands
from domain.event import Cause
from infra.event_log import EventStore, open_event_log
from tests.builders import a_job
from tests.component.consumers.at_work import summary
from tests.queues import Queues

COUNT = 40
SLOWLY = "Baker [slow:0.1]"


@dataclass
class Roles:
    """`relay` and `work` commands, as many as a test starts."""

    folder: Path
    environment: dict[str, str]
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def start(self, command: str) -> asyncio.subprocess.Process:
        with (self.folder / f"{command}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "api.cli", command,
                cwd=self.folder, env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip
        self.processes.append(process)
        return process

    async def kill(self, process: asyncio.subprocess.Process) -> None:
        process.kill()
        await process.wait()

    async def end(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                await self.kill(process)


@pytest.fixture
async def event_store(event_store_url: str) -> AsyncIterator[EventStore]:
    async with open_event_log(event_store_url) as event_store:
        yield event_store


@pytest.fixture
async def roles(
    tmp_path: Path,
    event_store_url: str,
    mongodb_uri: str,
    mongo_database: str,
    queues: Queues,
    sandbox: str,
) -> AsyncIterator[Roles]:
    names = queues.names
    blind = {"blind": {"url": f"{sandbox}/submit-blind", "delivery": "at_most_once", "concurrency": 16}}
    roles = Roles(
        tmp_path,
        {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.getcwd(),
            "EVENT_STORE": event_store_url,
            "RABBITMQ_URL": queues.url,
            "MONGODB": mongodb_uri,
            "MONGODB_DATABASE": mongo_database,
            "SANDBOX_PORTAL_URL": sandbox,
            "PORTALS": json.dumps(blind),
            "APPLICATION_PROCESSING_QUEUE": names.processing,
            "MIDDLEWARE_QUEUE": names.notifications,
            "APPLICATION_DLQ": names.dead_letters,
            "CLAIM_SECONDS": "1",
            "RETRY_BASE_DELAY": "0.1",
            "WORKER_METRICS_PORT": "0",
            "RELAY_METRICS_PORT": "0",
        },
    )
    yield roles
    await roles.end()


async def submit(commands: ApplicationCommands, portal: str) -> list[UUID]:
    cause = Cause("user:ada", "c-1")
    jobs = (a_job(SLOWLY, portal=portal),)
    return [(await commands.submit("ada", jobs, None, None, cause)).application_id for _ in range(COUNT)]


async def states(commands: ApplicationCommands, ids: Sequence[UUID]) -> list[Application]:
    found = await asyncio.gather(*(commands.load(id) for id in ids))
    return [loaded.application for loaded in found if loaded]


async def until_ended(commands: ApplicationCommands, ids: Sequence[UUID], count: int) -> None:
    """Waits until so many have ended. Raises TimeoutError."""
    async with asyncio.timeout(60):
        while sum(state.ended for state in await states(commands, ids)) < count:
            await asyncio.sleep(0.05)


@asynccontextmanager
async def killing(
    roles: Roles, command: str, commands: ApplicationCommands, ids: Sequence[UUID]
) -> AsyncIterator[None]:
    """Kills that role twice while the applications are on their way, each time after some more have ended."""
    process = await roles.start(command)
    yield
    for ended in (COUNT // 4, COUNT // 2):
        await until_ended(commands, ids, ended)
        await roles.kill(process)
        process = await roles.start(command)
    await until_ended(commands, ids, COUNT)


@pytest.mark.timeout(180)
async def test_workers_that_are_killed_send_no_job_twice_to_a_portal_with_keys(
    roles: Roles,
    commands: ApplicationCommands,
    sandbox: str,
) -> None:
    ids = await submit(commands, "sandbox")
    await roles.start("relay")
    async with killing(roles, "work", commands, ids):
        pass
    assert {state.status for state in await states(commands, ids)} == {Status.SUCCESS}
    counts = await summary(sandbox)
    assert (counts["entries"], counts["taken"], counts["taken_twice"]) == (COUNT, COUNT, 0)


@pytest.mark.timeout(180)
async def test_workers_that_are_killed_send_no_job_twice_to_a_portal_without_keys(
    roles: Roles,
    commands: ApplicationCommands,
    sandbox: str,
) -> None:
    ids = await submit(commands, "blind")
    await roles.start("relay")
    async with killing(roles, "work", commands, ids):
        pass
    counts = await summary(sandbox)
    assert counts["deliveries"] == counts["taken"] <= COUNT
    for state in await states(commands, ids):
        if state.status is not Status.SUCCESS:
            [job] = state.jobs
            assert job.failed
            assert job.failed.reason.startswith("Outcome unknown: the worker stopped")


@pytest.mark.timeout(180)
async def test_relays_that_are_killed_lose_nothing(
    roles: Roles,
    commands: ApplicationCommands,
    sandbox: str,
) -> None:
    ids = await submit(commands, "sandbox")
    await roles.start("work")
    async with killing(roles, "relay", commands, ids):
        ids += await submit(commands, "sandbox")
    await until_ended(commands, ids, 2 * COUNT)
    assert {state.status for state in await states(commands, ids)} == {Status.SUCCESS}
    counts = await summary(sandbox)
    assert (counts["entries"], counts["taken"], counts["taken_twice"]) == (2 * COUNT, 2 * COUNT, 0)
