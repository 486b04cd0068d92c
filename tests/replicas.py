"""Two API processes on the same stores, with a projector, and a third one that works: the test's own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp

from domain.commands import ApplicationCommands
from domain.event import Cause
from domain.ports import Append, Claim
from domain.retry import RetryPolicy
from infra.clock import SystemClock
from infra.event_log import EventStore, open_event_log
from tests.api import NOWHERE, Answer, User, token_of
from tests.builders import ApplicationStory
from tests.end_to_end.service import Service, until
from tests.ports import free_ports

FIRST, SECOND = "api", "api-2"
CAUSE = Cause("worker:of-the-tests")


@dataclass(frozen=True, slots=True)
class Replicas:
    """`ports`: of each API process, by its name."""

    service: Service
    ports: dict[str, int]
    event_store: EventStore
    http: aiohttp.ClientSession

    def user(self, id: str | None = None) -> tuple[User, User]:
        """Somebody, new unless he is named, as a caller of the first process and of the second."""
        id = id or f"user-{uuid4().hex[:12]}"
        token = token_of(id)
        first, second = (User(id, f"http://127.0.0.1:{port}", self.http, token) for port in self.ports.values())
        return first, second

    async def start(self, name: str) -> None:
        """Returns when it serves."""
        await self.service.start(name, PORT=str(self.ports[name]))
        await self.serves(name)

    async def serves(self, name: str) -> None:
        async def ready() -> bool:
            try:
                async with self.http.get(f"http://127.0.0.1:{self.ports[name]}/health/ready") as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        await until(ready, f"{name} is ready:\n{self.service.log(name)}")

    @asynccontextmanager
    async def killed(self, name: str) -> AsyncIterator[None]:
        """One of them is dead for that long, without a goodbye."""
        await self.service.kill(name)
        try:
            yield
        finally:
            await self.start(name)

    async def restart(self) -> None:
        """Both, as an operator does it."""
        assert await asyncio.gather(*(self.service.stop(name) for name in self.ports)) == [0, 0]
        await asyncio.gather(*(self.start(name) for name in self.ports))

    # -- the log ------------------------------------------------------------------------------------------------------

    async def names(self, id: str) -> list[str]:
        """What has happened in a stream, in short."""
        recorded = await self.event_store.log.read_stream(UUID(id))
        return [one.event.NAME.partition(".")[2] for one in recorded]

    async def submitted_by(self, user: User) -> list[str]:
        """The ids of all applications that the log has of a user."""
        found: list[str] = []
        position = 0
        while recorded := await self.event_store.log.read(position, 1000):
            position = recorded[-1].position
            submitted = (one for one in recorded if one.event.NAME == "application.submitted")
            found += [one.stream_id.hex for one in submitted if one.owner.user_id == user.id]
        return found

    async def happened(self, story: ApplicationStory) -> int:
        """Puts it into the log as workers would have; the position of its last event."""
        return await self.event_store.log.append(Append(story.recorded()))

    async def work_begins(self, id: str) -> None:
        """What a worker does first when it gets an application's message."""
        commands = ApplicationCommands(self.event_store.log, SystemClock(), RetryPolicy(5, 1.0, 16.0))
        loaded = await commands.load(UUID(id))
        assert loaded
        await commands.start(loaded, CAUSE, Claim(f"application:{id}", "worker", 30.0))


@asynccontextmanager
async def running_replicas(folder: Path, *, mongodb: str, database: str, event_store: str) -> AsyncIterator[Replicas]:
    """Both, and the projector; there is no broker, which no request needs."""
    service = Service.on(
        folder, mongodb=mongodb, database=database, rabbitmq=NOWHERE["rabbitmq_url"], event_store=event_store
    )
    [second] = free_ports(1)
    ports = {FIRST: int(service.settings["PORT"]), SECOND: second}
    async with (
        open_event_log(event_store) as opened,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30), connector=aiohttp.TCPConnector(limit=0)) as http,
    ):
        replicas = Replicas(service, ports, opened, http)
        await service.start(SECOND, PORT=str(ports[SECOND]))
        async with service.running(FIRST, "projector"):
            await replicas.serves(SECOND)
            yield replicas


async def answer_or_none(asking: "asyncio.Task[Answer]") -> Answer | None:
    """None when the process died, or was not there, before it answered."""
    try:
        return await asking
    except aiohttp.ClientError:
        return None


def one_was_first(answers: Sequence[Answer]) -> Answer:
    """The answer of the one request that did the work, when all others got the same, or were told to come again."""
    done = [answer for answer in answers if answer.status == 200]
    for refused in (answer for answer in answers if answer.status != 200):
        refused.refused(409, "ERR_9001", "DuplicateRequestError")
        assert refused.headers["Retry-After"] == "1"
    assert len({(answer.body, answer.position, answer.headers["Content-Type"]) for answer in done}) == 1
    [first] = [answer for answer in done if "X-Idempotency-Replayed" not in answer.headers]
    assert {answer.headers.get("X-Idempotency-Replayed") for answer in done if answer is not first} <= {"true"}
    return first


def is_replay(again: Answer, of: Answer) -> None:
    assert (again.status, again.body, again.position) == (200, of.body, of.position)
    assert again.headers["X-Idempotency-Replayed"] == "true"
