"""What the sandbox portal received: read, kept through kills, told (contract portals.md 3)."""

import asyncio
import os
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from consumers.portals.sandbox.server import SHUTDOWN_SECONDS
from consumers.portals.sandbox.store import ReceivedStore, StoreBusyError
from infra.local_servers import free_port
from tests.sandbox import Caller, calling, received

# -- submissions that cannot be read ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "the submission is not JSON"),
        (b"[]", "the submission cannot be used: submission"),
        (b'{"application_id": "a", "job": {}}', "the submission cannot be used: entry_id"),
        (b'{"entry_id": 1, "application_id": "a", "job": []}', "the submission cannot be used: entry_id, job"),
    ],
)
async def test_what_is_no_submission_is_refused_and_not_kept(sandbox: Caller, body: bytes, told: str) -> None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": "k"}
    assert await sandbox.call("POST", "/submit", data=body, headers=headers) == (400, {"message": told})
    assert (await sandbox.summary())["entries"] == 0


async def test_a_submission_without_a_key_is_refused(sandbox: Caller) -> None:
    assert await sandbox.submit(key="") == (400, {"message": "Idempotency-Key is missing"})


async def test_a_form_is_read_part_by_part_in_any_order(sandbox: Caller) -> None:
    for entry, order in (("a-1", ("submission", "cv")), ("b-1", ("cv", "submission"))):
        content = b'{"entry_id": "%s", "application_id": "a", "job": {"title": null}}' % entry.encode()
        parts = {"submission": content, "cv": b"%PDF-" + b"x" * 300_000}
        form = aiohttp.FormData()
        for name in order:
            form.add_field(name, parts[name], content_type="application/octet-stream", filename=name)
        answer = await sandbox.call("POST", "/submit", data=form, headers={"Idempotency-Key": entry})
        assert answer[0] == 200
    assert (await sandbox.summary())["taken"] == 2


FORM = "multipart/form-data; boundary=x"
PART = b"--x\r\nContent-Disposition: form-data; name="


@pytest.mark.parametrize(
    ("kind", "body", "status", "told"),
    [
        (FORM, PART + b"cv\r\n\r\nabc\r\n--x--\r\n", 400, "the form has no part named submission"),
        (FORM, PART + b"submission\r\n\r\n{", 400, "the form cannot be read"),
        (FORM, PART + b"submission\r\n\r\n{\r\n--x--\r\n", 400, "the submission is not JSON"),
        ("multipart/form-data", b"--x--\r\n", 400, "the form cannot be read"),
        ("text/plain", b"{}", 415, "a submission is JSON or a form, not text/plain"),
    ],
)
async def test_a_form_that_cannot_be_read_is_refused(
    sandbox: Caller, kind: str, body: bytes, status: int, told: str
) -> None:
    headers = {"Content-Type": kind, "Idempotency-Key": "k"}
    answer = await sandbox.call("POST", "/submit", data=body, headers=headers)
    assert answer[0] == status
    assert answer[1]["message"].startswith(told)


async def test_a_client_that_goes_half_way_leaves_nothing(sandbox: Caller, caplog: pytest.LogCaptureFixture) -> None:
    port = int(sandbox.base.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /submit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    writer.write(head.encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await sandbox.submit())[0] == 200
    assert (await sandbox.summary())["entries"] == 1
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


# -- what it tells ----------------------------------------------------------------------------------------------------


async def test_what_was_received_is_listed_in_pages(sandbox: Caller) -> None:
    for n in range(6):
        await sandbox.submit(entry=f"app{n % 2}-{n}")
    seen, cursor = [], ""
    for expected in (2, 2, 2):
        _, body = await sandbox.call("GET", f"/received?limit=2&cursor={cursor}")
        assert len(body["data"]) == expected
        seen += [entry["entry_id"] for entry in body["data"]]
        cursor = body["next_cursor"]
    assert seen == ["app0-0", "app1-1", "app0-2", "app1-3", "app0-4", "app1-5"]
    assert cursor is None


async def test_the_list_is_filtered(sandbox: Caller) -> None:
    for n in range(4):
        await sandbox.submit(entry=f"app{n % 2}-{n}")
    _, body = await sandbox.call("GET", "/received?application_id=app1")
    assert [entry["entry_id"] for entry in body["data"]] == ["app1-1", "app1-3"]
    _, body = await sandbox.call("GET", "/received?application_id=app1&entry_id=app0-0")
    assert body == {"data": [], "next_cursor": None}


async def test_an_entry_has_all_its_fields(sandbox: Caller) -> None:
    _, answer = await sandbox.submit()
    entry = await sandbox.entry()
    first_at, last_at = entry.pop("first_at"), entry.pop("last_at")
    assert entry == {
        "entry_id": "entry-1",
        "application_id": "entry",
        "idempotency_keys": ["entry-1-1"],
        "deliveries": 1,
        "taken": 1,
        "refused": 0,
        "reference": answer["reference"],
    }
    assert first_at == last_at
    assert first_at.endswith("Z")


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=99999", "cursor=x", "cursor=-1", f"cursor={'9' * 30}"])
async def test_a_bad_number_is_refused(sandbox: Caller, query: str) -> None:
    status, body = await sandbox.call("GET", f"/received?{query}")
    assert status == 422
    assert body["message"].startswith(query.split("=", maxsplit=1)[0])


async def test_it_forgets_all(sandbox: Caller) -> None:
    first = await sandbox.submit()
    assert await sandbox.call("DELETE", "/received") == (200, {"forgotten": 1})
    assert await sandbox.summary() == {"entries": 0, "deliveries": 0, "taken": 0, "taken_twice": 0, "refused": 0}
    again = await sandbox.submit()
    assert again[0] == 200
    assert again != first


# -- durability -------------------------------------------------------------------------------------------------------

PROGRAM = """
import asyncio, sys
from pathlib import Path
from consumers.portals.sandbox import run
asyncio.run(run("127.0.0.1", int(sys.argv[1]), Path(sys.argv[2])))
"""


@asynccontextmanager
async def process(port: int, database: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A sandbox portal as a process of its own, once it answers."""
    command = [sys.executable, "-c", PROGRAM, str(port), str(database)]
    portal = await asyncio.create_subprocess_exec(*command)
    try:
        async with calling(f"http://127.0.0.1:{port}") as caller, asyncio.timeout(20):
            while True:
                try:
                    await caller.summary()
                    break
                except aiohttp.ClientConnectorError:
                    assert portal.returncode is None
                    await asyncio.sleep(0.05)
        yield portal
    finally:
        if portal.returncode is None:
            portal.kill()
        await portal.wait()


async def test_killed_at_any_moment_it_keeps_what_it_answered_and_takes_nothing_twice(tmp_path: Path) -> None:
    port, database = free_port(), tmp_path / "sandbox.db"
    entries = [f"e{n}-1" for n in range(400)]
    answered: dict[str, Any] = {}

    async def deliver(caller: Caller, entry: str) -> None:
        """Until it is answered, as a relentless client does."""
        while entry not in answered:
            try:
                status, body = await caller.submit(entry=entry)
                assert status == 200
                answered[entry] = body["reference"]
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)

    async def killing() -> None:
        for kept in (20, 120, 250):
            async with process(port, database) as portal:
                while len(answered) < kept:
                    await asyncio.sleep(0.001)
                os.kill(portal.pid, signal.SIGKILL)

    async with calling(f"http://127.0.0.1:{port}") as caller, asyncio.timeout(60):
        clients = asyncio.gather(*(deliver(caller, entry) for entry in entries))
        await killing()
        async with process(port, database):
            await clients
            assert await caller.summary() | {"deliveries": 0} == {
                "entries": 400,
                "deliveries": 0,
                "taken": 400,
                "taken_twice": 0,
                "refused": 0,
            }
            _, body = await caller.call("GET", "/received?limit=1000")
    assert {entry["entry_id"]: entry["reference"] for entry in body["data"]} == answered


async def test_it_ends_at_once_although_a_client_hangs(tmp_path: Path) -> None:
    port = free_port()
    async with process(port, tmp_path / "sandbox.db") as portal, calling(f"http://127.0.0.1:{port}") as caller:
        hanging = asyncio.create_task(caller.submit("[hang]"))
        await received(caller, "entry-1")
        began = time.monotonic()
        portal.send_signal(signal.SIGINT)
        assert isinstance((await asyncio.gather(hanging, return_exceptions=True))[0], aiohttp.ClientError)
        await asyncio.wait_for(portal.wait(), 5)
        assert time.monotonic() - began < SHUTDOWN_SECONDS


# -- the store --------------------------------------------------------------------------------------------------------


async def test_a_command_that_fails_fails_alone(tmp_path: Path) -> None:
    def bad(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO nowhere VALUES (1)")

    def good(connection: sqlite3.Connection) -> int:
        return connection.execute(
            "INSERT INTO keys (key, entry_id, blind) VALUES (hex(randomblob(8)), 'e', 0)"
        ).rowcount

    def count(connection: sqlite3.Connection) -> int:
        found: int = connection.execute("SELECT count(*) FROM keys").fetchone()[0]
        return found

    async with ReceivedStore(tmp_path / "sandbox.db") as store:
        results = await asyncio.gather(*map(store.run, [good, bad, good]), return_exceptions=True)
        assert [results[0], results[2]] == [1, 1]
        assert isinstance(results[1], sqlite3.OperationalError)
        assert await store.run(count) == 2


async def test_a_closed_store_takes_nothing(tmp_path: Path) -> None:
    async with ReceivedStore(tmp_path / "sandbox.db") as store:
        pass
    with pytest.raises(StoreBusyError):
        await store.run(lambda connection: None)


async def test_those_that_wait_when_it_closes_are_answered(tmp_path: Path) -> None:
    async with ReceivedStore(tmp_path / "sandbox.db") as store:
        calls = [asyncio.create_task(store.run(lambda connection: 1)) for _ in range(600)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*calls) == [1] * 600


async def test_the_store_never_relaxes_its_durability(tmp_path: Path) -> None:
    async with ReceivedStore(tmp_path / "sandbox.db") as store:
        modes = await store.run(
            lambda c: (c.execute("PRAGMA journal_mode").fetchone()[0], c.execute("PRAGMA synchronous").fetchone()[0])
        )
    assert modes == ("wal", 2)
