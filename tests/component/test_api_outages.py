"""What the API answers while something that it needs is away, too slow, or too new (contract http.md 1.7, 10)."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest

from api.app import Dependencies
from domain.errors import DomainError, OutcomeUnknown, Overloaded, StoreFailed
from domain.event import RecordedEvent
from domain.ports import Append, EventLog
from infra import metrics
from infra.local_servers import start_mongodb, start_postgresql
from infra.log_database import Session
from tests.api import PDF, Api, running_api, settings_for, until

NO_MONGODB = "mongodb://127.0.0.1:1/?replicaSet=rs0"
QUICK = {"mongo_server_selection_timeout_ms": 300, "mongo_connect_timeout_ms": 300, "mongo_socket_timeout_ms": 500}


async def readiness(api: Api) -> tuple[int, str, dict[str, str]]:
    answer = await api.ask("GET", "/health/ready")
    return answer.status, answer.json["status"], answer.json["checks"]


# -- MongoDB ----------------------------------------------------------------------------------------------------------


async def test_without_mongodb_submissions_are_taken_and_reads_are_not(sqlite_url: str) -> None:
    async with running_api(settings_for(sqlite_url, NO_MONGODB, "x", **QUICK), projected=False) as api:
        ada = api.user()
        written = await ada.submit()
        assert written.status == 200
        for path in ("/applied", written.json["status_url"], f"/applied/{written.json['application_id']}"):
            answer = await ada.get(path)
            answer.refused(503, "ERR_5002", "DatabaseConnectionError")
            assert answer.headers["Retry-After"] == "5"
        (await ada.submit(cv=PDF)).refused(503, "ERR_5002", "DatabaseConnectionError")
        assert await api.event_store.log.head() == 1
        assert (await api.ask("GET", "/health/live")).status == 200


async def test_without_mongodb_requests_go_on_at_once_and_uncounted(sqlite_url: str) -> None:
    limits = {"rate_limit_enabled": True, "rate_limit_requests": "1/day", "rate_limit_applications": "1/day"}
    patient = QUICK | {"mongo_server_selection_timeout_ms": 2_000}  # so that it would be seen if each waited
    async with running_api(settings_for(sqlite_url, NO_MONGODB, "x", **patient, **limits), projected=False) as api:
        ada, errors = api.user(), metrics.RATE_LIMIT_STORE_ERRORS_TOTAL.value
        await ada.get("/nowhere")  # it finds out
        before, began = errors(), asyncio.get_running_loop().time()
        answers = [await ada.submit() for _ in range(30)]
        assert asyncio.get_running_loop().time() - began < 10
        assert {answer.status for answer in answers} == {200}
        assert errors() == before + 30
        assert not any(name.startswith("X-RateLimit") for answer in answers for name in answer.headers)


async def test_without_mongodb_it_is_not_ready(sqlite_url: str) -> None:
    async with running_api(settings_for(sqlite_url, NO_MONGODB, "x", **QUICK), projected=False) as api:
        status, told, checks = await readiness(api)
        assert (status, told) == (503, "not_ready")
        assert checks == {"mongodb": "not_ready", "rabbitmq": "not_ready", "event_store": "ready"}
        health = await api.ask("GET", "/health")
        assert health.status == 503
        assert health.json["dependencies"][0] == {
            "name": "mongodb", "status": "unhealthy", "latency_ms": None, "message": "cannot be used",
        }  # fmt: skip
        assert b"127.0.0.1" not in health.body


async def test_without_built_read_models_it_is_not_ready_but_statuses_are_told(
    sqlite_url: str, mongodb_uri: str, mongo_database: str
) -> None:
    settings = settings_for(sqlite_url, mongodb_uri, mongo_database, read_wait_seconds=0.1)
    async with running_api(settings, projected=False) as api:
        assert (await readiness(api))[:2] == (503, "not_ready")
        ada = api.user()
        written = await ada.submit()
        assert (await ada.get(written.json["status_url"])).status == 200
        (await ada.get("/applied")).refused(503, "ERR_5004", "ReadModelBehindError")
    async with running_api(settings) as api:
        assert (await readiness(api))[:2] == (200, "ready")


async def test_a_mongodb_that_hangs_ends_each_wait(tmp_path: Path, sqlite_url: str) -> None:
    mongodb = await start_mongodb(tmp_path / "mongodb")
    settings = settings_for(sqlite_url, mongodb.url, "x", **QUICK, health_check_timeout_seconds=0.3)
    try:
        async with running_api(settings) as api:
            ada = api.user()
            assert (await ada.get("/applied")).status == 200
            await mongodb.pause()
            began = asyncio.get_running_loop().time()
            assert (await ada.get("/applied")).json["code"] in {"ERR_5002", "ERR_5003"}
            status, _, checks = await readiness(api)
            assert (status, checks["mongodb"]) == (503, "not_ready")
            assert asyncio.get_running_loop().time() - began < 5
            assert (await ada.submit()).status == 200
            await mongodb.resume()

            async def reads_again() -> bool:
                return (await ada.get("/applied")).status == 200

            await until(reads_again, "reads are answered again")
    finally:
        await mongodb.resume()
        await mongodb.stop()


# -- the event store --------------------------------------------------------------------------------------------------


async def test_an_event_store_that_comes_back_is_used_again(
    servers_folder: Path, mongodb_uri: str, mongo_database: str
) -> None:
    folder = servers_folder / "outage"
    postgresql = await start_postgresql(folder)
    try:
        settings = settings_for(postgresql.url, mongodb_uri, mongo_database)
        async with running_api(settings, projected=False) as api:
            ada = api.user()
            written = await ada.submit()
            await postgresql.kill()
            for answer in (await ada.submit(), await ada.get(written.json["status_url"])):
                answer.refused(503, "ERR_5002", "DatabaseConnectionError")
                assert answer.headers["Retry-After"] == "5"
            assert (await readiness(api))[2]["event_store"] == "not_ready"
            postgresql = await start_postgresql(folder, urlsplit(postgresql.url).port)

            async def is_taken() -> bool:
                return (await ada.submit()).status == 200

            await until(is_taken, "submissions are taken again")
            assert (await ada.get(written.json["status_url"])).status == 200
    finally:
        await postgresql.stop()


@dataclass(frozen=True, slots=True)
class RefusingLog:
    """A log that refuses every append, for what no test can bring a real one to."""

    log: EventLog
    error: DomainError

    async def append(self, append: Append) -> int:
        raise self.error

    async def read_stream(self, stream_id: UUID) -> Sequence[RecordedEvent]:
        return await self.log.read_stream(stream_id)

    async def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        return await self.log.read(after, limit)

    async def position_at(self, at: datetime) -> int:
        return await self.log.position_at(at)

    async def head(self) -> int:
        return await self.log.head()

    async def wait(self, after: int, timeout: float) -> None:
        await self.log.wait(after, timeout)


def refusing(error: DomainError) -> Callable[[Dependencies], Dependencies]:
    return lambda deps: replace(deps, log=RefusingLog(deps.log, error))


@pytest.mark.parametrize(
    ("error", "status", "code", "name", "retry_after"),
    [
        (Overloaded("5000 wait at host-7"), 503, "ERR_1008", "OverloadedError", "1"),
        (OutcomeUnknown("lost host-7"), 503, "ERR_5003", "DatabaseTimeoutError", "5"),
        (StoreFailed("no such table on host-7"), 500, "ERR_5001", "DatabaseOperationError", None),
    ],
)
async def test_a_refused_append_is_told(
    sqlite_url: str, error: DomainError, status: int, code: str, name: str, retry_after: str | None
) -> None:
    settings = settings_for(sqlite_url, NO_MONGODB, "x", **QUICK)
    async with running_api(settings, projected=False, changed=refusing(error)) as api:
        answer = await api.user().submit()
        body = answer.refused(status, code, name)
        assert answer.headers.get("Retry-After") == retry_after
        assert "host-7" not in body["message"]


async def test_a_cv_that_mongodb_refuses_is_told_as_such(
    sqlite_url: str, mongodb_uri: str, mongo_database: str
) -> None:
    async with running_api(settings_for(sqlite_url, mongodb_uri, mongo_database), projected=False) as api:
        database = api.deps.cvs._cvs.database
        await database.create_collection("cvs", validator={"never": {"$exists": True}})
        (await api.user().submit(cv=PDF)).refused(500, "ERR_4003", "ResumeUploadError")
        assert await api.event_store.log.head() == 0


# -- a newer release --------------------------------------------------------------------------------------------------


async def test_an_event_of_a_newer_release_turns_it_not_ready(
    sqlite_url: str, mongodb_uri: str, mongo_database: str
) -> None:
    settings = settings_for(sqlite_url, mongodb_uri, mongo_database)
    stream = uuid4()

    def write(session: Session) -> None:
        sql = "INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES (?, 1, ?, ?)"
        session.execute(sql, (stream.hex, "application.teleported", b'{"v": 1, "data": {}, "metadata": {}}'))

    async with running_api(settings):
        pass  # the read models are built before it comes
    async with running_api(settings, projected=False) as api:
        ada = api.user()
        assert (await readiness(api))[:2] == (200, "ready")
        await api.event_store.database.transaction(write)
        answer = await ada.get(f"/applications/{stream.hex}/status")
        answer.refused(503, "ERR_1008", "OverloadedError")
        assert "Retry-After" in answer.headers
        status, told, checks = await readiness(api)
        assert (status, told, checks["event_store"]) == (503, "not_ready", "not_ready")
        assert (await ada.submit()).status == 200
