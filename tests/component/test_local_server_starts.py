"""One start of a server, tried with any program: who may use a folder, what is left, and how a failure is told."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.local_servers import LocalServerError, Running, free_port
from infra.local_servers.folder import prepare
from infra.local_servers.launch import Kind, Plan, start
from infra.local_servers.process import Command, Process, environment
from tests.processes import BOUND_SECONDS, any_alive, processes_of, until

SLEEPING = ("/bin/sleep", "3600")


def never() -> bool:
    return False


def at_once() -> bool:
    return True


def a_server_of(*words: str, ready: Callable[[], bool] = never, ready_seconds: float = BOUND_SECONDS) -> Kind:
    """A kind of server that is any program."""

    async def is_ready() -> bool:
        return ready()

    def plan(folder: Path, port: int) -> Plan:
        return Plan("", Command(words, folder, folder / "log", environment(), signal.SIGTERM), is_ready)

    return Kind("Anything", signal.SIGTERM, plan, ready_seconds)


async def refusal(folder: Path, *words: str, ready_seconds: float = BOUND_SECONDS) -> str:
    with pytest.raises(LocalServerError) as raised:
        await start(a_server_of(*words, ready_seconds=ready_seconds), folder, free_port())
    return str(raised.value)


# -- who may use a folder, and what is left in it ----------------------------------------------------------------------


async def test_a_second_start_in_a_folder_in_use_is_refused(folder: Path) -> None:
    kind = a_server_of(*SLEEPING, ready=at_once)
    server = await start(kind, folder, None)
    with pytest.raises(LocalServerError, match=rf"runs in {folder} already \(process {server.pid}, .* stop that one"):
        await start(kind, folder, None)
    assert server.alive
    await server.stop()


async def test_of_two_starts_at_the_same_moment_one_is_refused(folder: Path) -> None:
    ready = asyncio.Event()
    kind = a_server_of(*SLEEPING, ready=ready.is_set)
    starts = {asyncio.create_task(start(kind, folder, None)) for _ in range(2)}
    refused, going_on = await asyncio.wait(starts, timeout=BOUND_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    ready.set()
    results = await asyncio.gather(*refused, *going_on, return_exceptions=True)
    assert isinstance(results[0], LocalServerError)
    assert "is just being started" in str(results[0])
    assert isinstance(results[1], Running)
    await results[1].kill()
    assert not results[1].alive


async def test_a_cancelled_start_leaves_nothing_running(folder: Path) -> None:
    starting = asyncio.create_task(start(a_server_of(*SLEEPING), folder, None))
    await until((folder / "server.json").exists)
    theirs = await asyncio.to_thread(processes_of, folder)
    assert theirs
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not await any_alive(theirs)
    again = await start(a_server_of(*SLEEPING, ready=at_once), folder, None)
    assert again.alive
    await again.stop()


async def test_a_state_file_that_names_another_process_harms_nobody(folder: Path) -> None:
    """The id of a dead server may be anybody's by now: here it is that of a bystander."""
    bystander = await asyncio.create_subprocess_exec("sleep", "3600")
    state = {"starter": [1, "a boot long ago/1"], "server": [bystander.pid, "a boot long ago/2"], "companions": []}
    await asyncio.to_thread((folder / "server.json").write_text, json.dumps(state))
    server = await start(a_server_of(*SLEEPING, ready=at_once), folder, None)
    assert bystander.returncode is None
    assert Path(f"/proc/{bystander.pid}").exists()
    await server.stop()
    bystander.kill()
    await bystander.wait()


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


def test_a_free_port_can_be_listened_at() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        assert listener.getsockname()[1]


# -- readable errors ---------------------------------------------------------------------------------------------------


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
