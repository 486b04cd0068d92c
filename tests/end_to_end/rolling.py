"""Two of each role, of which one after the other is stopped and started anew, while users go on as if nothing were."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.end_to_end.service import Client, Service, until
from tests.ports import free_ports

PORT_OF = {
    "api": "PORT",
    "worker": "WORKER_METRICS_PORT",
    "relay": "RELAY_METRICS_PORT",
    "projector": "PROJECTOR_METRICS_PORT",
}
POSITION = "X-Event-Position"
TITLES = ("Baker", "Cook [fail:1]", "Waiter [slow:0.05]")
READY_SECONDS = 60.0
AWAY_SECONDS = 1.0  # until no request is on its way to who is out of the balancer


@dataclass(slots=True)
class Replicas:
    """Processes of a service by their names; `ports` are those of their probes, `away` those that get no requests."""

    service: Service
    client: Client
    ports: dict[str, int] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)

    async def start(self, name: str, code: Path | None = None) -> None:
        """Returns once it is ready."""
        role = name.partition("-")[0]
        if name not in self.ports:
            [self.ports[name]] = free_ports(1)
        port = self.ports[name]
        await self.service.start(name, code=code, **{PORT_OF[role]: str(port)})
        await until(lambda: self._is_ready(port), f"{name} is ready:\n{self.service.log(name)}", READY_SECONDS)

    async def replace(self, name: str, code: Path | None = None) -> None:
        """As an operator does it: told to end, waited for, started anew."""
        code_of_ending = await self.service.stop(name)
        assert code_of_ending == 0, f"{name}:\n{self.service.log(name)}"
        await self.start(name, code)

    async def replace_behind_balancer(self, name: str) -> None:
        """The same, once nobody sends requests there any more, as where a balancer takes out first what is to end."""
        self.away.add(name)
        await asyncio.sleep(AWAY_SECONDS)
        await self.replace(name)
        self.away.discard(name)

    async def _is_ready(self, port: int) -> bool:
        try:
            async with self.client.http.get(f"http://127.0.0.1:{port}/health/ready") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    @property
    def addresses(self) -> list[str]:
        """Where requests are sent."""
        apis = ((name, port) for name, port in self.ports.items() if name.startswith("api") and name not in self.away)
        return [f"http://127.0.0.1:{port}" for _, port in apis]

    def addresses_in_turn(self) -> Iterator[str]:
        for number in itertools.count():
            addresses = self.addresses
            yield addresses[number % len(addresses)]


@dataclass(slots=True)
class Users:
    """What they were told. Whatever is no 2xx and no refused connection is a failure."""

    submitted: list[str] = field(default_factory=list)
    requests: int = 0
    refused: int = 0  # connections; each was tried again at the next address
    failures: list[str] = field(default_factory=list)
    longest: float = 0.0  # seconds that a request took, with its tries


@asynccontextmanager
async def going_on(replicas: Replicas, callers: int = 4, pause: float = 0.05) -> AsyncIterator[Users]:
    """Submissions, each read back at once with its position, and lists, until the block ends."""
    users, stop = Users(), asyncio.Event()
    addresses = replicas.addresses_in_turn()

    async def caller(http: aiohttp.ClientSession) -> None:
        while not stop.is_set():
            await submit_and_look(http, replicas.client, users, addresses)
            await asyncio.sleep(pause)

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
        http._retry_connection = False  # else aiohttp hides a GET whose connection was closed under it
        running = [asyncio.create_task(caller(http)) for _ in range(callers)]
        try:
            yield users
        finally:
            stop.set()
            await asyncio.gather(*running)


async def submit_and_look(http: aiohttp.ClientSession, client: Client, users: Users, addresses: Iterator[str]) -> None:
    jobs = {"jobs": [{"title": title, "portal": "sandbox", "company_name": "Bread & Co"} for title in TITLES]}

    position = "0"

    async def ask(method: str, path: str, headers: Mapping[str, str], data: Mapping[str, str] | None) -> bytes | None:
        nonlocal position
        users.requests += 1
        began = time.perf_counter()
        while True:
            address = next(addresses)
            try:
                async with http.request(
                    method, address + path, headers={**client.headers, **headers}, data=data
                ) as response:
                    body = await response.read()
            except aiohttp.ClientConnectorError:
                users.refused += 1
                await asyncio.sleep(0.02)
                continue
            except (aiohttp.ClientError, TimeoutError) as error:
                users.failures.append(f"{method} {path}: {error!r}")
                return None
            if response.status != 200:
                users.failures.append(f"{method} {path}: {response.status} {body.decode()}")
                return None
            users.longest = max(users.longest, time.perf_counter() - began)
            position = response.headers[POSITION]
            return body

    answer = await ask("POST", "/applications", {}, {"jobs": json.dumps(jobs)})
    if answer is None:
        return
    id = json.loads(answer)["application_id"]
    users.submitted.append(id)
    await ask("GET", f"/applications/{id}/status", {POSITION: position}, None)
    await ask("GET", "/applied?limit=5", {}, None)


async def reached(users: Users, count: int) -> None:
    """Waits until so many more were submitted."""
    goal = len(users.submitted) + count

    async def enough() -> bool:
        return len(users.submitted) >= goal

    await until(enough, f"{count} more are submitted; failures: {users.failures[:5]}", READY_SECONDS)


async def then_nothing_is_lost_or_done_twice(client: Client, users: Users) -> None:
    told = "\n".join(users.failures[:20])
    print(f"{users.requests} requests, {users.refused} refused connections, {users.longest:.2f} s for the longest")
    assert not users.failures, f"{len(users.failures)} of {users.requests} requests failed:\n{told}"
    ended = await client.all_ended(users.submitted, 120)
    assert set(ended.values()) == {"success"}
    entries = {f"{id}-{number}" for id in users.submitted for number in range(1, len(TITLES) + 1)}
    assert set(await client.entries("/applied")) == entries
    assert await client.entries("/fail_applied") == {}
    received = {entry["entry_id"]: entry for entry in await client.received()}
    assert set(received) == entries
    assert {entry["taken"] for entry in received.values()} == {1}
    assert (await client.portal("/summary"))["taken_twice"] == 0
