"""The servers that we start: real ones, each in a folder of its own, ended and started again in every way."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import psycopg
import pytest
from pymongo import AsyncMongoClient

from infra.local_servers import (
    LocalServerError,
    Running,
    start_mongodb,
    start_postgresql,
    start_rabbitmq,
)
from infra.local_servers.mongodb import _copy
from infra.local_servers.process import pause
from tests.processes import BOUND_SECONDS, any_alive, listening_addresses, processes_of, states_of, until

ROOT = Path(__file__).parents[2]


def port_of(server: Running) -> int:
    port = urlsplit(server.url).port
    assert port
    return port


# -- the three kinds, and how each keeps something ---------------------------------------------------------------------


async def keep_in_mongodb(url: str) -> None:
    """In a transaction, under the eyes of a change stream: what a standalone server cannot do."""
    async with AsyncMongoClient[dict[str, Any]](url) as client:
        kept = client.test.kept
        await client.test.create_collection("kept")
        async with await kept.watch() as changes:
            async with client.start_session() as session, await session.start_transaction():
                await kept.insert_one({"_id": 1}, session=session)
            assert (await changes.next())["documentKey"] == {"_id": 1}


async def is_kept_in_mongodb(url: str) -> bool:
    async with AsyncMongoClient[dict[str, Any]](url, timeoutMS=2_000) as client:
        return await client.test.kept.find_one() == {"_id": 1}


async def keep_in_rabbitmq(url: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("kept", durable=True)
        message = aio_pika.Message(b"kept", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, "kept")


async def is_kept_in_rabbitmq(url: str) -> bool:
    async with await aio_pika.connect(url, timeout=5) as connection:
        queue = await (await connection.channel()).declare_queue("kept", passive=True)
        message = await queue.get(timeout=5)
        await message.nack(requeue=True)
        return message.body == b"kept"


async def keep_in_postgresql(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")


async def is_kept_in_postgresql(url: str) -> bool:
    async with await psycopg.AsyncConnection.connect(url, connect_timeout=2) as connection:
        return await (await connection.execute("SELECT one FROM kept")).fetchall() == [(1,)]


@dataclass(frozen=True)
class Given:
    start: Callable[..., Awaitable[Running]]
    keep: Callable[[str], Awaitable[None]]
    is_kept: Callable[[str], Awaitable[bool]]


GIVEN = {
    "mongodb": Given(start_mongodb, keep_in_mongodb, is_kept_in_mongodb),
    "rabbitmq": Given(start_rabbitmq, keep_in_rabbitmq, is_kept_in_rabbitmq),
    "postgresql": Given(start_postgresql, keep_in_postgresql, is_kept_in_postgresql),
}

each_kind = pytest.mark.parametrize("kind", GIVEN)


@asynccontextmanager
async def running(starting: Awaitable[Running]) -> AsyncIterator[Running]:
    server = await starting
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
def beside(kind: str, request: pytest.FixtureRequest) -> Running:
    """One of this kind that other tests use."""
    server: Running = request.getfixturevalue(f"{kind}_server")
    return server


@asynccontextmanager
async def started_by_another_process(
    kind: str, folder: Path, *options: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The other process, and the URL that it tells once the server is ready."""
    command = [sys.executable, "-m", "infra.local_servers", kind, str(folder), *options]
    starter = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert starter.stdout
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            url = (await starter.stdout.readline()).decode().strip()
        yield starter, url
    finally:
        if starter.returncode is None:
            starter.kill()
        await starter.wait()


# -- ended and started again -------------------------------------------------------------------------------------------


@each_kind
async def test_a_server_keeps_its_data_however_it_ends_and_dies_with_its_starter(kind: str, folder: Path) -> None:
    given = GIVEN[kind]
    stopped = await given.start(folder)
    await given.keep(stopped.url)
    await stopped.stop()
    assert not stopped.alive
    assert not Path(f"/proc/{stopped.pid}").exists()

    killed = await given.start(folder)
    assert port_of(killed) != port_of(stopped)
    assert await given.is_kept(killed.url)
    os.kill(killed.pid, signal.SIGKILL)  # from outside: not reaped yet, and what it needed beside it still runs

    async with started_by_another_process(kind, folder, "--port", str(port_of(killed))) as (starter, url):
        assert url == killed.url
        assert await given.is_kept(url)
        assert not await any_alive([child.process for child in killed.companions])
        assert not killed.alive
        await killed.stop()  # of the old one; does nothing to the new
        assert (folder / "server.json").exists()
        theirs = await asyncio.to_thread(processes_of, folder)
        assert await asyncio.to_thread(theirs[0].alive)
        starter.kill()
        await starter.wait()
        await until(lambda: not any(process.alive() for process in theirs))


@pytest.mark.parametrize(
    ("kind", "last_words"), [("mongodb", "Now exiting"), ("postgresql", "database system is shut down")]
)
async def test_a_paused_server_answers_nothing_until_it_is_resumed_or_stopped(
    kind: str, last_words: str, beside: Running, folder: Path
) -> None:
    given = GIVEN[kind]
    server = await given.start(folder)
    assert port_of(server) != port_of(beside)
    await given.keep(server.url)
    await server.pause()
    assert await asyncio.to_thread(states_of, server.pid) == {"T"}, "one that still runs could still answer"
    assert "T" not in await asyncio.to_thread(states_of, beside.pid)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await given.is_kept(server.url)
    assert server.alive
    await server.resume()
    assert await given.is_kept(server.url)
    await server.pause()
    await server.stop()
    assert not Path(f"/proc/{server.pid}").exists()
    assert last_words in await asyncio.to_thread(server.log_tail, 3)


async def test_an_orphan_that_cannot_end_is_stopped_by_the_next_start(folder: Path) -> None:
    async with started_by_another_process("mongodb", folder) as (starter, url):
        await keep_in_mongodb(url)
        theirs = await asyncio.to_thread(processes_of, folder)
        await asyncio.to_thread(pause, theirs[0])
        starter.kill()
        await starter.wait()
    assert await any_alive(theirs)
    try:
        async with running(start_mongodb(folder, urlsplit(url).port)) as server:
            assert not await any_alive(theirs)
            assert server.alive
            assert await is_kept_in_mongodb(server.url)
    finally:
        for process in theirs:
            await asyncio.to_thread(process.send, signal.SIGKILL)


async def test_a_server_runs_in_the_foreground_until_ctrl_c(folder: Path) -> None:
    async with started_by_another_process("mongodb", folder) as (command, url):
        await keep_in_mongodb(url)
        theirs = await asyncio.to_thread(processes_of, folder)
        command.send_signal(signal.SIGINT)
        async with asyncio.timeout(BOUND_SECONDS):
            assert await command.wait() == 0
    assert not await any_alive(theirs)
    assert not (folder / "server.json").exists()


# -- each kind's own ---------------------------------------------------------------------------------------------------


@each_kind
async def test_a_server_listens_on_this_machine_only(beside: Running) -> None:
    loopback = {"0100007F", "00000000000000000000000001000000"}  # 127.0.0.1, ::1
    theirs = await asyncio.to_thread(processes_of, beside.state_file.parent)
    addresses = await asyncio.to_thread(listening_addresses, theirs)
    assert addresses
    assert addresses <= loopback


async def test_ctrl_c_in_the_terminal_does_not_reach_a_server(mongodb_server: Running) -> None:
    assert os.getsid(mongodb_server.pid) == mongodb_server.pid != os.getsid(0)


async def test_postgresql_is_durable(postgresql_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgresql_url) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            shown = await connection.execute(f"SHOW {setting}".encode())
            assert await shown.fetchone() == ("on",)


@each_kind
async def test_a_taken_port_is_told(kind: str, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LocalServerError, match=f"port {port} for .* is taken by another program: stop that one"):
            await GIVEN[kind].start(folder, port)


async def test_a_folder_that_cannot_be_made_is_told(folder: Path) -> None:
    await asyncio.to_thread((folder / "file").touch)
    with pytest.raises(LocalServerError, match=f"MongoDB cannot use {folder}/file.*: Not a directory; name another"):
        await start_mongodb(folder / "file" / "mongodb")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts PostgreSQL as another user")
async def test_a_folder_out_of_reach_of_postgresqls_user_is_told(folder: Path) -> None:
    closed = folder / "closed"
    await asyncio.to_thread(closed.mkdir, 0o700)
    with pytest.raises(
        LocalServerError, match=rf"who may not reach {closed}/postgresql: name a folder that others may"
    ):
        await start_postgresql(closed / "postgresql")


async def test_mongod_is_copied_whole_where_the_packages_are_read_only(folder: Path) -> None:
    shipped = folder / "mongod"
    await asyncio.to_thread(shipped.write_text, "#!/bin/sh\necho copied\n")
    copy = await asyncio.to_thread(_copy, shipped, folder / "cache")
    assert await asyncio.to_thread(subprocess.check_output, [copy], text=True) == "copied\n"
    assert [path.name for path in (folder / "cache").iterdir()] == [copy.name]
