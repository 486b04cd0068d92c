"""Streamed exports in trouble: the database dies, the client is slow, stalls or goes away (contract http.md 8.2)."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api import downloads
from api.admission import DOWNLOADS_OF_ONE
from domain.job import Job
from infra import metrics
from infra.local_servers import start_mongodb
from infra.mongo import Mongo
from projections import exports
from projections.view import BuildName
from tests.api import Api, User, running_api, settings_for, until
from tests.bench.seeding import seed

ROWS = 1_500
SMALL_BUFFER = 16 * 1024
LAST_CHUNK = b"0\r\n\r\n"


def fat(number: int) -> Job:
    """6 kB: all of them are much more than the buffers of the two sockets hold."""
    return Job(title=f"row {number} " + "x" * 1_900, portal="Xing", company_name="c" * 1_900, location="l" * 1_900)


@pytest.fixture
async def api(sqlite_url: str, mongodb_uri: str, mongo_database: str) -> AsyncIterator[Api]:
    async with running_api(settings_for(sqlite_url, mongodb_uri, mongo_database)) as api:
        yield api


@pytest.fixture
async def ada(api: Api, mongodb_uri: str, mongo_database: str) -> User:
    """Somebody with 9 MB of rows."""
    ada = api.user()
    async with Mongo(mongodb_uri, mongo_database) as mongo:
        await seed(mongo, ada.id, applied_count=ROWS, job=fat)
    return ada


class RowsRead:
    """Counts what the exports read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        page = exports.Export._page

        async def counted(export: exports.Export, build: BuildName, before: str | None) -> exports.Rows:
            rows = await page(export, build, before)
            self.count += len(rows)
            return rows

        monkeypatch.setattr(exports.Export, "_page", counted)

    async def stand_still(self) -> int:
        """How many there are, once no more come."""
        seen = [-1] * 20

        async def still() -> bool:
            seen.append(self.count)
            return self.count > 0 and len(set(seen[-20:])) == 1

        await until(still, "no more rows are read")
        return self.count


@contextlib.asynccontextmanager
async def a_download(user: User, path: str) -> AsyncIterator[asyncio.StreamReader]:
    """Its bytes as they come, of a client that takes few at a time, and no more than it reads."""
    host, port = user.url.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=connection, limit=SMALL_BUFFER)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n\r\n".encode())
    try:
        yield reader
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def rest_of(reader: asyncio.StreamReader, wait: float = 0.0) -> bytes:
    """To its end, clean or not; `wait` seconds before each piece."""
    read = b""
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(SMALL_BUFFER * 8):
            read += piece
            if piece.endswith(LAST_CHUNK):
                break
            await asyncio.sleep(wait)
    return read


def running() -> float:
    """How many exports are being answered."""
    return metrics.HTTP_REQUESTS_IN_PROGRESS.value(method="GET", endpoint="/export/csv")


async def all_have_ended() -> None:
    async def ended() -> bool:
        return not running()

    await until(ended, "the requests have ended")


async def idle_cursors(api: Api) -> list[Any]:
    """Those of queries: the change stream that the API follows is idle between two looks at it."""
    client = api.deps.cvs._cvs.database.client
    return await client.admin.aggregate(
        [
            {"$currentOp": {"idleCursors": True, "allUsers": True}},
            {"$match": {"type": "idleCursor", "cursor.tailable": False}},
        ]
    ).to_list(None)


async def test_a_stalled_client_costs_a_few_pages_no_cursor_and_is_broken_off(
    api: Api, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "STALLED_SECONDS", 2.0)
    monkeypatch.setattr(exports, "PAGE", 50)
    rows = RowsRead(monkeypatch)
    async with a_download(ada, "/export/csv?stream=true") as reader:
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        assert await rows.stand_still() < ROWS / 2
        assert await idle_cursors(api) == []
        assert running()
        await all_have_ended()
        read = await rest_of(reader)
    assert not read.endswith(LAST_CHUNK)
    assert rows.count < ROWS / 2


async def test_a_stalled_client_of_a_whole_file_is_broken_off(
    api: Api, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "STALLED_SECONDS", 0.5)
    async with a_download(ada, "/export/csv") as reader:
        head = await reader.readuntil(b"\r\n\r\n")
        await all_have_ended()
        read = await rest_of(reader)
    length = re.search(rb"Content-Length: (\d+)", head)
    assert length
    assert len(read) < int(length[1])


async def test_who_takes_his_time_with_many_downloads_is_refused_more_and_shuts_nobody_out(api: Api, ada: User) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(DOWNLOADS_OF_ONE):
            reader = await stack.enter_async_context(a_download(ada, "/export/csv?stream=true"))
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        refused = await ada.get("/export/csv")
        refused.refused(503, "ERR_1008", "OverloadedError")
        assert int(refused.headers["Retry-After"]) > 0
        assert (await ada.get("/applied")).status == 200
        assert (await api.user().get("/export/csv?stream=true")).status == 200
    await all_have_ended()
    assert (await ada.get("/export/csv?stream=true&date_from=2027-01-01")).status == 200


async def test_a_slow_client_gets_it_all(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes longer than a stalled one is given, but never stalls."""
    monkeypatch.setattr(downloads, "STALLED_SECONDS", 1.0)
    began = asyncio.get_running_loop().time()
    async with a_download(ada, "/export/csv?stream=true") as reader:
        read = await rest_of(reader, wait=0.006)
    assert asyncio.get_running_loop().time() - began > 1.0
    assert read.endswith(LAST_CHUNK)
    assert all(f",row {number} ".encode() in read for number in range(0, ROWS, 100))


async def test_a_client_that_goes_away_ends_the_reading(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while its whole file is made: nobody would take it."""
    monkeypatch.setattr(exports, "PAGE", 1)
    for path in ("/export/csv?stream=true", "/export/csv"):
        rows = RowsRead(monkeypatch)

        async def begun(rows: RowsRead = rows) -> bool:
            return rows.count > 3

        async with a_download(ada, path):
            await until(begun, "it has begun")
        await all_have_ended()
        assert rows.count < ROWS


async def test_a_database_that_is_killed_breaks_it_off(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mongodb = await start_mongodb(tmp_path / "mongodb")
    quick = {"mongo_server_selection_timeout_ms": 300, "mongo_connect_timeout_ms": 300, "mongo_socket_timeout_ms": 500}
    monkeypatch.setattr(exports, "PAGE", 100)
    try:
        async with running_api(settings_for(sqlite_url, mongodb.url, "killed", **quick)) as api:
            ada = api.user()
            async with Mongo(mongodb.url, "killed") as mongo:
                await seed(mongo, ada.id, applied_count=ROWS, job=fat)
            async with a_download(ada, "/export/csv?stream=true") as reader:
                read = b""
                while b",row 1450 " not in read:  # the newest come first
                    read += await reader.read(SMALL_BUFFER)
                await mongodb.kill()
                read += await rest_of(reader)
            assert read.startswith(b"HTTP/1.1 200 ")
            assert b",row 0 " not in read
            assert not read.endswith(LAST_CHUNK)
            assert (await ada.get("/export/csv")).status == 503
    finally:
        await mongodb.stop()
