"""The servers that we start: real ones, each in a folder of its own, ended and started again in every way."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import psycopg
import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from infra.local_servers import (
    LocalServerError,
    Running,
    free_port,
    start_mongodb,
    start_postgresql,
    start_rabbitmq,
    temporary_folder,
)
from infra.local_servers.debian import Packages, unpacked
from infra.local_servers.folder import prepare
from infra.local_servers.launch import Kind, Plan, start
from infra.local_servers.mongodb import _copy
from infra.local_servers.process import Command, Process, environment, family

ROOT = Path(__file__).parents[2]
BOUND_SECONDS = 30.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with temporary_folder() as place:
        yield place


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(BOUND_SECONDS):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


async def any_alive(processes: list[Process]) -> bool:
    return await asyncio.to_thread(lambda: any(process.alive() for process in processes))


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


# -- ended and started again -------------------------------------------------------------------------------------------


@each_kind
async def test_a_server_keeps_its_data_over_a_stop_a_kill_and_another_port(kind: str, folder: Path) -> None:
    given = GIVEN[kind]
    first = await given.start(folder)
    await given.keep(first.url)
    await first.stop()
    assert not first.alive
    assert not Path(f"/proc/{first.pid}").exists()

    second = await given.start(folder, port_of(first))
    assert second.url == first.url
    assert await given.is_kept(second.url)
    await second.kill()
    assert not second.alive

    async with running(given.start(folder)) as third:
        assert port_of(third) != port_of(first)
        assert await given.is_kept(third.url)


@each_kind
async def test_a_server_killed_from_outside_starts_again_at_once(kind: str, folder: Path) -> None:
    """Its starter has not even reaped it, and what it needed beside it still runs."""
    given = GIVEN[kind]
    killed = await given.start(folder)
    await given.keep(killed.url)
    beside = [child.process for child in killed.companions]
    os.kill(killed.pid, signal.SIGKILL)
    async with running(given.start(folder, port_of(killed))) as again:
        assert again.pid != killed.pid
        assert not await any_alive(beside)
        assert await given.is_kept(again.url)
        assert not killed.alive
        await killed.stop()  # of the old one; does nothing to the new
        assert again.alive
        assert (folder / "server.json").exists()


async def test_servers_start_side_by_side(folder: Path) -> None:
    servers = await asyncio.gather(
        start_mongodb(folder / "one"),
        start_mongodb(folder / "two"),
        start_postgresql(folder / "three"),
        start_postgresql(folder / "four"),
    )
    try:
        assert len({port_of(server) for server in servers}) == 4
        assert all(server.alive for server in servers)
    finally:
        await asyncio.gather(*(server.stop() for server in servers))


@pytest.mark.parametrize("kind", ["mongodb", "postgresql"])
async def test_a_paused_server_answers_nothing_until_it_is_resumed(kind: str, folder: Path) -> None:
    given = GIVEN[kind]
    async with running(given.start(folder)) as server:
        await given.keep(server.url)
        await server.pause()
        assert await asyncio.to_thread(states_of, server.pid) == {"T"}, "one that still runs could still answer"
        with pytest.raises((PyMongoError, psycopg.OperationalError)):
            await given.is_kept(server.url)
        assert server.alive
        await server.resume()
        assert await given.is_kept(server.url)


async def test_a_paused_server_can_be_stopped(folder: Path) -> None:
    server = await start_postgresql(folder)
    await server.pause()
    await server.stop()
    assert not server.alive
    assert "database system is shut down" in await asyncio.to_thread(server.log_tail, 3)


async def test_a_cancelled_start_leaves_nothing_running(folder: Path) -> None:
    starting = asyncio.create_task(start_mongodb(folder))
    await until((folder / "server.json").exists)
    state = json.loads(await asyncio.to_thread((folder / "server.json").read_bytes))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not await any_alive([Process(*state["server"])])
    async with running(start_mongodb(folder)) as server:
        assert server.alive


# -- who may use a folder, and who dies with whom ----------------------------------------------------------------------


async def test_a_second_start_in_a_folder_in_use_is_refused(folder: Path) -> None:
    async with running(start_mongodb(folder)) as server:
        with pytest.raises(
            LocalServerError, match=rf"runs in {folder} already \(process {server.pid}, .* stop that one"
        ):
            await start_mongodb(folder)
        assert server.alive


async def test_of_two_starts_at_the_same_moment_one_is_refused(folder: Path) -> None:
    results = await asyncio.gather(start_mongodb(folder), start_mongodb(folder), return_exceptions=True)
    servers = [result for result in results if isinstance(result, Running)]
    refusals = [str(result) for result in results if isinstance(result, LocalServerError)]
    assert [len(servers), len(refusals)] == [1, 1]
    assert "is just being started" in refusals[0]
    await servers[0].stop()


STARTER = """
import asyncio, sys
from pathlib import Path
from infra import local_servers

async def main():
    server = await getattr(local_servers, "start_" + sys.argv[1])(Path(sys.argv[2]))
    if "pause" in sys.argv:
        await server.pause()
    print(server.url, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


async def start_by_another_process(*words: str) -> tuple[asyncio.subprocess.Process, str]:
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTER, *words, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert starter.stdout
    async with asyncio.timeout(BOUND_SECONDS):
        return starter, (await starter.stdout.readline()).decode().strip()


def processes_of(folder: Path) -> list[Process]:
    state = json.loads((folder / "server.json").read_bytes())
    return [relative for one in (state["server"], *state["companions"]) for relative in family(Process(*one))]


def states_of(pid: int) -> set[str]:
    """Letters of proc(5), of a process and its children, T if stopped: asked of the kernel, not of our own code."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    stats = [Path(f"/proc/{one}/stat").read_text() for one in (pid, *children)]
    return {stat.rpartition(")")[2].split()[0] for stat in stats}


@each_kind
async def test_a_server_dies_with_its_starter(kind: str, folder: Path) -> None:
    given = GIVEN[kind]
    starter, url = await start_by_another_process(kind, str(folder))
    await given.keep(url)
    theirs = await asyncio.to_thread(processes_of, folder)
    assert theirs
    starter.kill()
    await starter.wait()
    await until(lambda: not any(process.alive() for process in theirs))
    async with running(given.start(folder)) as again:
        assert await given.is_kept(again.url)


async def test_an_orphan_that_cannot_end_is_stopped_by_the_next_start(folder: Path) -> None:
    starter, url = await start_by_another_process("mongodb", str(folder), "pause")
    theirs = await asyncio.to_thread(processes_of, folder)
    starter.kill()
    await starter.wait()
    assert await any_alive(theirs)
    try:
        async with running(start_mongodb(folder, urlsplit(url).port)) as server:
            assert not await any_alive(theirs)
            assert server.alive
    finally:
        for process in theirs:
            await asyncio.to_thread(process.send, signal.SIGKILL)


FIRST_THREAD_ENDS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=[3600]).start()
ctypes.CDLL(None).pthread_exit(None)
"""


async def test_a_process_whose_first_thread_has_ended_lives_on() -> None:
    """A server that is being killed looks dead from that moment on, but holds its port and files a little longer."""
    program = await asyncio.create_subprocess_exec(sys.executable, "-c", FIRST_THREAD_ENDS)
    process = await asyncio.to_thread(Process.of, program.pid)
    assert process
    await until(lambda: Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
    assert await any_alive([process])
    program.kill()
    await program.wait()
    assert not await any_alive([process])


async def test_a_state_file_that_names_another_process_harms_nobody(folder: Path) -> None:
    """The id of a dead server may be anybody's by now: here it is that of a bystander."""
    bystander = await asyncio.create_subprocess_exec("sleep", "3600")
    state = {"starter": [1, "a boot long ago/1"], "server": [bystander.pid, "a boot long ago/2"], "companions": []}
    await asyncio.to_thread((folder / "server.json").write_text, json.dumps(state))
    async with running(start_mongodb(folder)):
        assert bystander.returncode is None
        assert Path(f"/proc/{bystander.pid}").exists()
    bystander.kill()
    await bystander.wait()


async def test_ctrl_c_in_the_terminal_does_not_reach_a_server(folder: Path) -> None:
    async with running(start_mongodb(folder)) as server:
        assert os.getsid(server.pid) == server.pid != os.getsid(0)


# -- readable errors ---------------------------------------------------------------------------------------------------


@each_kind
async def test_a_taken_port_is_told(kind: str, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LocalServerError, match=f"port {port} for .* is taken by another program: stop that one"):
            await GIVEN[kind].start(folder, port)


def a_server_of(words: tuple[str, ...], *, ready_seconds: float = BOUND_SECONDS) -> Kind:
    """A kind of server that is any program, and never ready."""

    async def never() -> bool:
        return False

    def plan(folder: Path, port: int) -> Plan:
        return Plan("", Command(words, folder, folder / "log", environment(), signal.SIGTERM), never)

    return Kind("Anything", signal.SIGTERM, plan, ready_seconds)


async def refusal(folder: Path, *words: str, ready_seconds: float = BOUND_SECONDS) -> str:
    with pytest.raises(LocalServerError) as raised:
        await start(a_server_of(words, ready_seconds=ready_seconds), folder, free_port())
    return str(raised.value)


async def test_a_missing_library_is_told_with_its_package(folder: Path) -> None:
    program = folder / "program"
    whole = await asyncio.to_thread(Path("/usr/bin/true").read_bytes)
    await asyncio.to_thread(program.write_bytes, whole.replace(b"libc.so.6\0", b"libq.so.6\0"))
    program.chmod(0o755)
    told = await refusal(folder, str(program))
    assert told == ("Anything needs the library libq.so.6, which this machine lacks: install the package that holds it")


async def test_a_missing_program_is_told(folder: Path) -> None:
    told = await refusal(folder, str(folder / "nothing"))
    assert told == f"Anything cannot be run: {folder}/nothing: No such file or directory"


async def test_a_program_for_another_machine_is_told(folder: Path) -> None:
    program = folder / "program"
    await asyncio.to_thread(program.write_bytes, b"\x7fELF, but not for here")
    program.chmod(0o755)
    assert await refusal(folder, str(program)) == f"Anything cannot be run: {program}: Exec format error"


async def test_a_disk_that_fills_up_is_told(folder: Path) -> None:
    told = await refusal(folder, "/bin/dd", "if=/dev/zero", "of=/dev/full", "count=1")
    assert told == (f"Anything has no room: the disk of {folder} is full; free some, or name a folder on another disk")


def test_a_disk_without_room_is_told_before_anything_starts(folder: Path) -> None:
    with pytest.raises(LocalServerError, match=f"no room: the disk of {folder} is full"):
        prepare("MongoDB", folder, needed_bytes=2**62)


async def test_a_folder_that_cannot_be_made_is_told(folder: Path) -> None:
    await asyncio.to_thread((folder / "file").touch)
    with pytest.raises(LocalServerError, match=f"MongoDB cannot use {folder}/file.*: Not a directory; name another"):
        await start_mongodb(folder / "file" / "mongodb")


async def test_a_server_that_dies_shows_its_last_words(folder: Path) -> None:
    await asyncio.to_thread((folder / "log").write_text, "words of an earlier start\n")
    told = await refusal(folder, "/bin/sh", "-c", "echo first; echo last >&2; exit 3")
    assert told.splitlines() == [
        "Anything ended with exit code 3 before it was ready. Its last words:",
        "first",
        "last",
    ]


async def test_a_server_that_is_never_ready_is_given_up_and_ended(folder: Path) -> None:
    told = await refusal(folder, "/bin/sh", "-c", "echo waiting; echo $$ > pid; exec sleep 3600", ready_seconds=0.5)
    assert told.splitlines() == [
        f"Anything was not ready within 0.5 s; see {folder}/log. Its last words:",
        "waiting",
    ]
    pid = int(await asyncio.to_thread((folder / "pid").read_text))
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts PostgreSQL as another user")
async def test_a_folder_out_of_reach_of_postgresqls_user_is_told(folder: Path) -> None:
    closed = folder / "closed"
    await asyncio.to_thread(closed.mkdir, 0o700)
    with pytest.raises(
        LocalServerError, match=rf"who may not reach {closed}/postgresql: name a folder that others may"
    ):
        await start_postgresql(closed / "postgresql")


# -- each kind's own ---------------------------------------------------------------------------------------------------


async def test_postgresql_is_durable(folder: Path) -> None:
    async with (
        running(start_postgresql(folder)) as server,
        await psycopg.AsyncConnection.connect(server.url) as connection,
    ):
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            shown = await connection.execute(f"SHOW {setting}".encode())
            assert await shown.fetchone() == ("on",)


def listening_addresses(processes: list[Process]) -> set[str]:
    """Local addresses, in the kernel's hexadecimal, at which these processes take TCP connections."""
    sockets = {
        link.readlink().name
        for process in processes
        for link in Path(f"/proc/{process.pid}/fd").iterdir()
        if link.is_symlink()
    }
    rows = [
        line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


@each_kind
async def test_a_server_listens_on_this_machine_only(kind: str, folder: Path) -> None:
    loopback = {"0100007F", "00000000000000000000000001000000"}  # 127.0.0.1, ::1
    async with running(GIVEN[kind].start(folder)):
        theirs = await asyncio.to_thread(processes_of, folder)
        addresses = await asyncio.to_thread(listening_addresses, theirs)
    assert addresses
    assert addresses <= loopback


async def test_mongod_is_copied_whole_where_the_packages_are_read_only(folder: Path) -> None:
    shipped = folder / "mongod"
    await asyncio.to_thread(shipped.write_text, "#!/bin/sh\necho copied\n")
    copy = await asyncio.to_thread(_copy, shipped, folder / "cache")
    assert await asyncio.to_thread(subprocess.check_output, [copy], text=True) == "copied\n"
    assert [path.name for path in (folder / "cache").iterdir()] == [copy.name]


async def test_a_server_runs_in_the_foreground_until_ctrl_c(folder: Path) -> None:
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.local_servers", "mongodb", str(folder), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert command.stdout
    async with asyncio.timeout(BOUND_SECONDS):
        await keep_in_mongodb((await command.stdout.readline()).decode().strip())
        theirs = await asyncio.to_thread(processes_of, folder)
        command.send_signal(signal.SIGINT)
        assert await command.wait() == 0
    assert not await any_alive(theirs)
    assert not (folder / "server.json").exists()


def test_a_free_port_can_be_listened_at() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        assert listener.getsockname()[1]


# -- Debian's packages (a small one; needs its mirror) -----------------------------------------------------------------

HELLO = Packages("Hello", wanted=("hello",), family="hello", advice="say it yourself")

UNPACKER = """
import sys
from pathlib import Path
from infra.local_servers.debian import Packages, unpacked
print(unpacked(Packages("Hello", wanted=("hello",), family="hello", advice="say it yourself"), Path(sys.argv[1])))
"""

apt = pytest.mark.skipif(shutil.which("apt-get") is None, reason="only Debian and its kin have apt-get")


def unpacker(cache: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", UNPACKER, cache], cwd=ROOT, stdout=subprocess.PIPE, text=True)


@apt
def test_packages_are_unpacked_once_by_two_processes_and_the_system_stays_as_it_is(folder: Path) -> None:
    systems = [Path("/var/lib/apt/lists"), Path("/var/cache/apt"), Path("/var/lib/dpkg")]
    before = [path.stat().st_mtime_ns for path in systems]
    with unpacker(folder) as one, unpacker(folder) as two:
        places = {one.communicate(timeout=BOUND_SECONDS)[0], two.communicate(timeout=BOUND_SECONDS)[0]}
    (place,) = (Path(line.strip()) for line in places)
    said = subprocess.check_output([place / "usr/bin/hello"], text=True, env={"LC_ALL": "C"})
    assert said == "Hello, world!\n"
    assert sorted(path.name for path in folder.iterdir()) == [place.name, f"{place.name}.lock"]
    assert [path.stat().st_mtime_ns for path in systems] == before


@apt
def test_an_unpacking_killed_half_way_is_begun_again(folder: Path) -> None:
    with unpacker(folder) as killed:
        deadline = time.monotonic() + BOUND_SECONDS
        while not list(folder.glob(".hello-*/apt.conf")) and time.monotonic() < deadline:
            time.sleep(0.01)
        killed.kill()
    assert list(folder.glob(".hello-*"))
    place = unpacked(HELLO, folder)
    assert (place / "usr/bin/hello").exists()
    assert sorted(path.name for path in folder.iterdir()) == [place.name, f"{place.name}.lock"]


@apt
def test_packages_that_do_not_exist_are_told_with_what_to_do(folder: Path) -> None:
    unknown = Packages("Hello", wanted=("hello-nobody",), family="hello", advice="say it yourself")
    with pytest.raises(LocalServerError, match=r"Debian's hello-nobody cannot be had \(.+\): say it yourself$"):
        unpacked(unknown, folder)
    assert not [path for path in folder.iterdir() if path.is_dir()], "a half-made folder would pass for a whole one"


@apt
def test_a_network_that_does_not_answer_is_told_with_its_own_words(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(LocalServerError, match=r"cannot be had \(Failed to fetch .*refused.*\): say it yourself$"):
        unpacked(HELLO, folder)


def test_a_system_without_apt_is_told_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(LocalServerError, match=r"no Debian \(apt-get is missing\): say it yourself$"):
        unpacked(HELLO, folder)
