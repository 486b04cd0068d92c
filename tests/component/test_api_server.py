"""The API as a process: start, addresses, and how it ends (design 8, contract http.md 10.2)."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest

from api.http_server import LAST_REQUEST_SECONDS
from api.server import serve
from infra.event_log import open_event_log
from infra.local_servers import Running, free_port
from infra.mongo import MongoNotReplicaSet
from infra.role_server import CannotListen
from infra.settings import Settings
from tests.api import Answer, User, answers, running_api, serving, settings_for, token_of, until
from tests.ports import free_ports
from tests.standalone_mongodb import standalone_mongodb

FORM = b'--b\r\nContent-Disposition: form-data; name="jobs"\r\n\r\n{"jobs": [{}]}\r\n--b--\r\n'


@pytest.fixture
def settings(sqlite_url: str, mongodb_uri: str, mongo_database: str) -> Settings:
    return settings_for(sqlite_url, mongodb_uri, mongo_database, port=free_port(), shutdown_grace_seconds=10)


class HalfSent:
    """A submission whose last bytes its sender still holds back."""

    def __init__(self, user: User) -> None:
        self.user = user

    async def __aenter__(self) -> "HalfSent":
        host, _, port = self.user.url.removeprefix("http://").partition(":")
        self.reader, self.writer = await asyncio.open_connection(host, int(port))
        head = (
            f"POST /applications HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.user.token}\r\n"
            f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(FORM)}\r\n"
            "Expect: 100-continue\r\n\r\n"
        )
        self.writer.write(head.encode() + FORM[:20])
        assert await self.reader.readline() == b"HTTP/1.1 100 Continue\r\n"  # it is being read
        await self.reader.readline()
        return self

    async def finish(self) -> bytes:
        self.writer.write(FORM[20:])
        return await self.reader.read()

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


async def test_running_requests_are_finished_and_nobody_else_comes_in(settings: Settings) -> None:
    async with serving(settings) as (user, stop, running), HalfSent(user) as submission:
        stop.set()

        async def is_closed() -> bool:
            async with aiohttp.ClientSession() as other:
                return not await answers(User("x", user.url, other, "x"))

        await until(is_closed, "it takes no new connection")
        assert not running.done()
        answer = await submission.finish()
        assert answer.startswith(b"HTTP/1.1 200 ")
        await asyncio.wait_for(running, 5)
    async with open_event_log(settings.event_store) as event_store:
        assert await event_store.log.head() == 1


@pytest.mark.parametrize("path", ["/applied", "/export/csv?stream=true"])
async def test_who_keeps_his_connection_is_answered_once_more_and_told_to_go(settings: Settings, path: str) -> None:
    async with running_api(settings):
        pass  # the read models are built
    async with serving(settings) as (user, stop, running):
        assert (await user.get(path)).status == 200
        stop.set()

        async def is_closed() -> bool:
            async with aiohttp.ClientSession() as other:
                return not await answers(User("x", user.url, other, "x"))

        await until(is_closed, "it takes no new connection")
        await asyncio.sleep(0.5)  # it is not closed while he might be sending the next request
        last = await user.get(path)
        assert (last.status, last.headers["Connection"]) == (200, "close")
        await asyncio.wait_for(running, LAST_REQUEST_SECONDS - 0.6)  # nobody is left


async def test_while_it_ends_it_says_that_it_is_not_ready(settings: Settings) -> None:
    async with running_api(settings):
        pass  # the read models are built
    async with serving(settings) as (user, stop, _), HalfSent(user) as submission:
        assert (await user.get("/health/ready")).status == 200
        stop.set()
        ready: Answer = await user.get("/health/ready")  # on the connection that it has already
        assert (ready.status, ready.json["status"]) == (503, "not_ready")
        assert ready.headers["Connection"] == "close"
        await submission.finish()


async def test_a_request_that_does_not_end_holds_it_for_the_grace_only(settings: Settings) -> None:
    short = settings.model_copy(update={"shutdown_grace_seconds": 0.2})
    async with serving(short) as (user, stop, running), HalfSent(user):
        stop.set()
        await asyncio.wait_for(running, 8)


async def test_an_idle_connection_does_not_hold_it(settings: Settings) -> None:
    async with serving(settings) as (_, stop, running):
        stop.set()
        await asyncio.wait_for(running, LAST_REQUEST_SECONDS + 3)


async def test_a_taken_port_is_told_in_a_line(settings: Settings) -> None:
    async with serving(settings):
        with pytest.raises(
            CannotListen, match=rf"^Cannot listen at 127.0.0.1 port {settings.port}: the port is taken$"
        ):
            await serve(settings, asyncio.Event())


async def test_an_address_of_another_machine_is_told_in_a_line(settings: Settings) -> None:
    with pytest.raises(CannotListen, match=r"^Cannot listen at 203.0.113.1 port \d+: [^\n]+$"):
        await serve(settings.model_copy(update={"host": "203.0.113.1"}), asyncio.Event())


async def test_killed_it_has_lost_nothing_that_it_answered(settings: Settings, tmp_path: Path) -> None:
    answered = await _while_it_serves(settings, tmp_path, signal.SIGKILL)
    await _all_are_in_the_log(settings, answered)


async def test_terminated_under_load_it_answers_what_it_has_begun(settings: Settings, tmp_path: Path) -> None:
    answered = await _while_it_serves(settings, tmp_path, signal.SIGTERM)
    await _all_are_in_the_log(settings, answered)


async def _while_it_serves(settings: Settings, folder: Path, end: signal.Signals) -> list[str]:
    """Runs it as a process, submits from eight connections, ends it in the midst: the ids that were answered."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.getcwd(),
        **{
            name.upper(): str(getattr(settings, name))
            for name in ("event_store", "mongodb", "mongodb_database", "port")
        },
        "SECRET_KEY": settings.secret_key.get_secret_value(),
        "RABBITMQ_URL": settings.rabbitmq_url,
        "RATE_LIMIT_ENABLED": "false",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api.cli", "serve", cwd=folder, env=environment,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    answered: list[str] = []
    async with aiohttp.ClientSession() as http:
        user = User("ada", f"http://127.0.0.1:{settings.port}", http, token_of("ada"))
        try:
            await until(lambda: answers(user), "it serves")
            callers = [asyncio.create_task(_submit_on_and_on(user, answered)) for _ in range(8)]
            await until(lambda: _has(answered, 100), "it has answered a hundred")
            process.send_signal(end)
            _, errors = await asyncio.wait_for(process.communicate(), 15)
            await asyncio.wait_for(asyncio.gather(*callers), 15)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    assert process.returncode == (0 if end == signal.SIGTERM else -end), errors
    return answered


async def _has(answered: list[str], count: int) -> bool:
    return len(answered) >= count


async def _submit_on_and_on(user: User, answered: list[str]) -> None:
    with contextlib.suppress(aiohttp.ClientConnectionError):
        while True:
            answer = await user.submit()
            assert answer.status == 200, answer.body
            answered.append(answer.json["application_id"])


async def _all_are_in_the_log(settings: Settings, answered: list[str]) -> None:
    assert len(answered) == len(set(answered)) >= 100
    async with open_event_log(settings.event_store) as event_store:
        for id in answered:
            assert len(await event_store.log.read_stream(UUID(id))) == 1


async def test_a_standalone_mongodb_stops_the_start(sqlite_url: str, mongodb_server: Running, tmp_path: Path) -> None:
    port, own = free_ports(2)
    async with standalone_mongodb(mongodb_server, tmp_path, port):
        settings = settings_for(sqlite_url, f"mongodb://127.0.0.1:{port}", "x", port=own)
        with pytest.raises(MongoNotReplicaSet, match="replSet"):
            await serve(settings, asyncio.Event())
