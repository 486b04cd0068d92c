"""Rebuilds while people submit and read: no read fails or goes back, and whatever is killed, the next start goes on.

Short by default. REBUILD_EVENTS (in the log before: 1000000, say), REBUILD_RATE (submissions a second: 200) and
REBUILD_KILLS (20) make it as long as one likes: `make rebuild-long`.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.bench.projection import EVENTS_EACH, fill
from tests.end_to_end.service import Client, Service, token, until
from tests.ports import free_ports

EVENTS = int(os.environ.get("REBUILD_EVENTS", "3000"))
RATE = float(os.environ.get("REBUILD_RATE", "20"))
KILLS = int(os.environ.get("REBUILD_KILLS", "2"))
BOUND_SECONDS = 120 + EVENTS / 2_000  # for one run of a command

pytestmark = pytest.mark.timeout(BOUND_SECONDS * (KILLS + 4))

READS = ("/applications", "/applied", "/fail_applied", "/export/summary")
READER = "user-1"  # has a part of the history


@dataclass
class Reader:
    """Reads on and on, now through one API process and now through the other."""

    urls: Sequence[str]
    http: aiohttp.ClientSession
    reads: int = 0
    failed: list[str] = field(default_factory=list)
    backwards: list[str] = field(default_factory=list)
    longest: float = 0.0  # seconds

    async def run(self) -> None:
        seen, counts = dict.fromkeys(READS, 0), dict.fromkeys(READS, 0)
        headers = {"Authorization": f"Bearer {token(READER)}"}
        while True:
            for path in READS:
                began = time.monotonic()
                async with self.http.get(self.urls[self.reads % 2] + path, headers=headers) as answer:
                    body = await answer.json()
                self.longest = max(self.longest, time.monotonic() - began)
                self.reads += 1
                if answer.status != 200:
                    self.failed.append(f"{path}: {answer.status} {body}")
                    continue
                position, count = int(answer.headers["X-Event-Position"]), _count(body)
                if position < seen[path] or count < counts[path]:
                    self.backwards.append(f"{path}: {position} after {seen[path]}, {count} after {counts[path]}")
                seen[path], counts[path] = position, count

    def check(self) -> None:
        assert (self.failed, self.backwards) == ([], []), f"of {self.reads} reads"
        assert self.reads > 20


def _count(body: dict[str, Any]) -> int:
    """Of what never becomes less."""
    return int(body["pagination"]["total_count"] if "pagination" in body else body["total_applications"])


@dataclass
class Submitter:
    """Submits at a rate, and follows what is told of it."""

    client: Client
    submitted: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    connected: asyncio.Event = field(default_factory=asyncio.Event)  # what is submitted earlier may not be told

    async def submit(self) -> None:
        began = asyncio.get_running_loop().time()
        under_way: set[asyncio.Task[None]] = set()
        for number in range(1_000_000_000):
            await asyncio.sleep(max(0.0, began + number / RATE - asyncio.get_running_loop().time()))
            under_way = {task for task in under_way if not task.done()} | {asyncio.create_task(self._submit())}

    async def _submit(self) -> None:
        self.submitted.append(await self.client.submit("Baker"))

    async def follow(self) -> None:
        headers = {**self.client.headers, "Accept": "text/event-stream"}
        forever = aiohttp.ClientTimeout(total=None)
        async with self.client.http.get(f"{self.client.url}/stream/status", headers=headers, timeout=forever) as stream:
            async for line in stream.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if (name, value) == ("event", "connected"):
                    self.connected.set()
                elif name == "id":
                    self.ids.append(int(value))
                elif name == "data" and "application_id" in value:
                    self.told.append(json.loads(value)["application_id"])

    async def all_told(self) -> bool:
        return len(self.told) >= len(self.submitted)

    def check(self) -> None:
        assert sorted(self.told) == sorted(self.submitted)
        assert self.ids == sorted(set(self.ids))


@dataclass
class Operator:
    """Gives commands in the service's folder."""

    service: Service

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.service.folder), **self.service.settings}
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "api.cli", "projections", *arguments,
            cwd=self.service.folder, env={**environment, "PYTHONPATH": os.getcwd()},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def run(self, *arguments: str) -> Any:
        """The document that it prints."""
        process = await self.start(*arguments, "--json")
        try:
            stdout, stderr = await asyncio.wait_for(process.communicate(), BOUND_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
        assert process.returncode == 0, stderr.decode()
        return json.loads(stdout)


@asynccontextmanager
async def under_load(
    folder: Path, mongodb: str, database: str, rabbitmq: str
) -> AsyncIterator[tuple[Operator, Reader, Submitter]]:
    """A service with a history and two API processes, somebody who submits, and somebody who reads."""
    url = f"sqlite:///{folder}/events.db"
    await fill(url, EVENTS // EVENTS_EACH)
    service = Service.on(folder, mongodb=mongodb, database=database, rabbitmq=rabbitmq, event_store=url)
    [second] = map(str, free_ports(1))
    await service.start("projector")
    try:
        async with service.running("api") as client, aiohttp.ClientSession() as http:
            await until(client.ready, "the history is in the read models", BOUND_SECONDS)
            await service.start("api-2", PORT=second)
            other = Client(f"http://127.0.0.1:{second}", "")
            async with other:
                await until(other.ready, f"the second API process is ready:\n{service.log('api-2')}")
            reader, submitter = Reader([client.url, other.url], http), Submitter(client)
            tasks = [asyncio.create_task(each()) for each in (submitter.follow, reader.run)]
            try:
                await asyncio.wait_for(submitter.connected.wait(), 30)
                tasks.append(asyncio.create_task(submitter.submit()))
                yield Operator(service), reader, submitter
                tasks.pop().cancel()
                await until(submitter.all_told, f"all is told: {len(submitter.told)} of {len(submitter.submitted)}")
                assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await service.end()


async def test_a_rebuild_of_all_is_seen_by_nobody(
    tmp_path: Path, mongodb_uri: str, mongo_database: str, rabbitmq_url: str
) -> None:
    async with under_load(tmp_path, mongodb_uri, mongo_database, rabbitmq_url) as (operator, reader, submitter):
        began = time.monotonic()
        switched = (await operator.run("rebuild", "--all"))["data"]
        seconds = time.monotonic() - began
        assert all(one["differences"] == 0 for one in switched), switched
        verified = await operator.run("verify", "--all")
        assert verified["equal"], verified
        assert all(one["build"].endswith(".2") for one in verified["data"])
        read = reader.reads
        await until(lambda: _more(reader, read + 20), "it is read after the switch")
    reader.check()
    submitter.check()
    print(f"\n{switched[0]['position']} events in {seconds:.1f} s under {RATE:.0f} submissions/s: "
          f"{reader.reads} reads, the longest {reader.longest:.2f} s, {len(submitter.told)} updates")  # fmt: skip


async def _more(reader: Reader, than: int) -> bool:
    return reader.reads > than


async def test_killed_at_any_moment_the_next_start_goes_on(
    tmp_path: Path, mongodb_uri: str, mongo_database: str, rabbitmq_url: str
) -> None:
    seed = random.randrange(2**32)
    print(f"\nseed {seed}")
    rng = random.Random(seed)
    async with under_load(tmp_path, mongodb_uri, mongo_database, rabbitmq_url) as (operator, reader, submitter):
        began = time.monotonic()
        await operator.run("rebuild", "--all")
        whole = time.monotonic() - began
        progress: dict[str, int] = {}
        for _ in range(KILLS):
            process = await operator.start("rebuild", "--all")
            with suppress(TimeoutError):
                await asyncio.wait_for(process.communicate(), rng.uniform(0.3, 1.2) * whole)
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            standing = (await operator.run("status"))["data"]
            live = [one["name"] for one in standing if one["use"] == "live"]
            assert sorted(live) == sorted({one["name"] for one in standing}), "each model has one live build"
            building = {one["build"]: one["position"] for one in standing if one["use"] == "building"}
            assert all(building[name] >= at for name, at in progress.items() if name in building), "it goes on"
            progress = building
            assert (await operator.run("verify", "--all"))["equal"]
        await operator.run("rebuild", "--all")
        assert (await operator.run("verify", "--all"))["equal"]
    reader.check()
    submitter.check()
    print(f"{KILLS} kills, {reader.reads} reads, {len(submitter.told)} updates")
