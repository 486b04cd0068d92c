"""A process takes so many requests of a kind and refuses the next at once (`api/admission.py`)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from uuid import UUID

import pytest

from api.admission import IN_PROGRESS_MAX
from domain.event import RecordedEvent
from domain.ports import Append, EventLog
from infra import metrics
from tests.api import ONE, Answer, Api, User, running_api, settings_for, until

NO_MONGODB = "mongodb://127.0.0.1:1/?replicaSet=rs0"
QUICK = {"mongo_server_selection_timeout_ms": 300, "mongo_connect_timeout_ms": 300, "mongo_socket_timeout_ms": 500}


@dataclass
class HangingLog:
    """A log that does not answer until it is let go."""

    log: EventLog
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    async def append(self, append: Append) -> int:
        self.waiting += 1
        await self.goes_on.wait()
        return await self.log.append(append)

    async def read_stream(self, stream_id: UUID) -> Sequence[RecordedEvent]:
        return await self.log.read_stream(stream_id)

    async def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        return await self.log.read(after, limit)

    async def head(self) -> int:
        return await self.log.head()

    async def wait(self, after: int, timeout: float) -> None:
        await self.log.wait(after, timeout)


@asynccontextmanager
async def hanging(sqlite_url: str) -> AsyncIterator[tuple[Api, HangingLog]]:
    logs: list[HangingLog] = []

    def hang(deps):  # type: ignore[no-untyped-def]
        logs.append(HangingLog(deps.log))
        return replace(deps, log=logs[0])

    async with running_api(settings_for(sqlite_url, NO_MONGODB, "x", **QUICK), projected=False, changed=hang) as api:
        yield api, logs[0]


@asynccontextmanager
async def full(ada: User, log: HangingLog) -> AsyncIterator[Sequence[asyncio.Task[Answer]]]:
    """All places for writes are taken until it ends; then each is answered."""
    taken = [asyncio.create_task(ada.submit()) for _ in range(IN_PROGRESS_MAX)]

    async def all_wait() -> bool:
        return log.waiting == IN_PROGRESS_MAX

    await until(all_wait, "all places are taken")
    yield taken
    log.goes_on.set()
    assert {answer.status for answer in await asyncio.gather(*taken)} == {200}


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many connections as there are places, and more: the client's own limit is a hundred."""
    import aiohttp

    unlimited = aiohttp.ClientSession
    monkeypatch.setattr(
        "tests.api.aiohttp.ClientSession",
        lambda **more: unlimited(**more, connector=aiohttp.TCPConnector(limit=0)),
    )


@pytest.mark.usefixtures("crowd")
async def test_one_too_many_is_refused_at_once_and_those_that_were_taken_end(sqlite_url: str) -> None:
    async with hanging(sqlite_url) as (api, log):
        ada = api.user()
        async with full(ada, log):
            answer = await asyncio.wait_for(ada.submit(), 10)
            answer.refused(503, "ERR_1008", "OverloadedError")
            assert answer.headers["Retry-After"] == "1"
        assert (await ada.submit()).status == 200
        assert await api.event_store.log.head() == IN_PROGRESS_MAX + 1


@pytest.mark.usefixtures("crowd")
async def test_reads_probes_and_metrics_do_not_suffer_from_writes(sqlite_url: str) -> None:
    async with hanging(sqlite_url) as (api, log), full(api.user(), log):
        unknown = await api.user().get(f"/applications/{UUID(int=1).hex}/status")
        assert unknown.status in {404, 503}
        assert unknown.json["code"] != "ERR_1008"
        for path in ("/health/live", "/metrics", "/openapi.json"):
            assert (await api.ask("GET", path)).status == 200


@pytest.mark.usefixtures("crowd")
async def test_who_sends_slowly_holds_no_place(sqlite_url: str) -> None:
    async with hanging(sqlite_url) as (api, log):
        log.goes_on.set()
        ada, writers = api.user(), []
        host, _, port = api.url.removeprefix("http://").partition(":")
        head = f"POST /applications HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {ada.token}\r\n"
        head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {5 + len(ONE)}\r\n\r\njobs="
        for _ in range(IN_PROGRESS_MAX + 1):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(head.encode())
            writers.append(writer)
        labels = {"method": "POST", "endpoint": "/applications"}

        async def all_send() -> bool:
            return bool(metrics.HTTP_REQUESTS_IN_PROGRESS.value(**labels) >= len(writers))

        await until(all_send, "all have begun to send")
        assert (await ada.submit()).status == 200
        for writer in writers:
            writer.transport.abort()
