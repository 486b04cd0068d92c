"""The supervisor over real processes: tiny programs that live, die and refuse to end."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from api.cli.child import ChildProcess
from api.cli.role_log import RoleLog
from api.cli.supervisor import BackOff, Supervisor

LIVES = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
print("up", flush=True)
signal.pause()
"""
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
while True:
    signal.pause()
"""
DIES = """
import sys
print("out of luck", file=sys.stderr)
sys.exit(70)
"""
REFUSES = """
import sys
print("Error: PORT should be a number", file=sys.stderr)
print("{}")
sys.exit(1)
"""
HAS_A_CHILD = f"""
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", {LIVES!r}]).pid, flush=True)
{LIVES}
"""

QUICK = BackOff(first=0.01, longest=0.04)


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    """Ended, and nothing but an entry for its parent is left."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Scene:
    """A supervisor, what it told, and children by name."""

    def __init__(self, folder: Path) -> None:
        self.told: list[str] = []
        self.supervisor = Supervisor(self.told.append, QUICK)
        self._folder = folder

    def child(self, name: str, program: str, kind: type[ChildProcess] = ChildProcess) -> ChildProcess:
        log = RoleLog(self._folder / f"{name}.log")
        return kind(name, [sys.executable, "-c", program], os.environ, log)

    async def start(self, name: str, program: str) -> ChildProcess:
        child = self.child(name, program)
        await self.supervisor.start(child)
        return child

    def logged(self, name: str) -> str:
        log = self._folder / f"{name}.log"
        return log.read_text() if log.exists() else ""

    async def until_logged(self, name: str, text: str) -> None:
        await until(lambda: text in self.logged(name))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    await scene.supervisor.kill()


async def test_what_dies_is_started_again(scene: Scene) -> None:
    child = await scene.start("worker", LIVES)
    await scene.until_logged("worker", "up")
    first = child.pid
    assert first
    os.kill(first, signal.SIGKILL)
    await until(lambda: child.pid != first and child.alive)
    await until(lambda: len(scene.told) == 2)
    assert scene.told == ["worker ended: killed by SIGKILL; starting it again in 0.01 s", "worker is started again"]


async def test_what_dies_again_and_again_waits_longer_each_time(scene: Scene) -> None:
    await scene.start("relay", DIES)
    await until(lambda: len([line for line in scene.told if "ended" in line]) >= 4)
    ends = [line for line in scene.told if "ended" in line][:4]
    assert ends == [
        f"relay ended: out of luck (exit code 70); starting it again in {pause} s" for pause in (0.01, 0.02, 0.04, 0.04)
    ]


async def test_a_good_run_makes_the_next_pause_short_again(tmp_path: Path) -> None:
    told: list[str] = []
    supervisor = Supervisor(told.append, BackOff(first=0.01, longest=1, steady_after=0))
    await supervisor.start(ChildProcess("relay", [sys.executable, "-c", DIES], os.environ, RoleLog(tmp_path / "log")))
    await until(lambda: len([line for line in told if "ended" in line]) >= 3)
    await supervisor.kill()
    assert all("in 0.01 s" in line for line in told if "ended" in line)


async def test_a_refusal_to_run_halts_the_whole_with_its_reason(scene: Scene) -> None:
    await scene.start("worker", LIVES)
    await scene.start("api", REFUSES)
    async with asyncio.timeout(10):
        assert await scene.supervisor.halted() == "api: PORT should be a number (exit code 1)"
    assert scene.told == []


async def test_all_are_stopped_in_the_reverse_order_of_their_start(scene: Scene) -> None:
    order: list[str] = []

    class Noting(ChildProcess):
        async def stop(self, grace: float) -> bool:
            order.append(self.name)
            return await super().stop(grace)

    children = []
    for name in ("mongodb", "worker", "api"):
        children.append(scene.child(name, LIVES, Noting))
        await scene.supervisor.start(children[-1])
        await scene.until_logged(name, "up")
    await scene.supervisor.stop(grace=10)
    assert order == ["api", "worker", "mongodb"]
    assert not any(child.alive for child in children)
    assert scene.told == []


async def test_what_does_not_end_in_time_is_killed_and_told(scene: Scene) -> None:
    child = await scene.start("worker", STUBBORN)
    await scene.until_logged("worker", "up")
    await scene.supervisor.stop(grace=0.1)
    assert not child.alive
    assert scene.told == ["worker did not end within 0.1 s and was killed"]


async def test_a_kill_cuts_a_stop_short(scene: Scene) -> None:
    await scene.start("worker", STUBBORN)
    await scene.start("api", STUBBORN)
    for name in ("worker", "api"):
        await scene.until_logged(name, "up")
    stopping = asyncio.create_task(scene.supervisor.stop(grace=60))
    await asyncio.sleep(0)
    await scene.supervisor.kill()
    async with asyncio.timeout(10):
        await stopping


async def test_the_children_of_a_child_end_with_it(scene: Scene) -> None:
    child = await scene.start("worker", HAS_A_CHILD)
    await scene.until_logged("worker", "up\nup")
    grandchild = int(scene.logged("worker").split()[0])
    assert child.pid
    os.kill(child.pid, signal.SIGKILL)
    await until(lambda: gone(grandchild))


async def test_a_child_is_in_no_session_of_ours_so_that_ctrl_c_reaches_it_through_us_alone(scene: Scene) -> None:
    child = await scene.start("worker", LIVES)
    await scene.until_logged("worker", "up")
    assert child.pid
    assert os.getsid(child.pid) == child.pid != os.getsid(0)


async def test_nothing_is_left_when_the_supervisor_itself_is_killed(tmp_path: Path) -> None:
    program = f"""
import asyncio, os, sys
from pathlib import Path
from api.cli.child import ChildProcess
from api.cli.role_log import RoleLog
from api.cli.supervisor import Supervisor
async def main():
    supervisor = Supervisor(print)
    child = ChildProcess("worker", [sys.executable, "-c", {STUBBORN!r}], os.environ, RoleLog(Path("worker.log")))
    await supervisor.start(child)
    print(child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout
    pid = int(await parent.stdout.readline())
    log = tmp_path / "worker.log"
    await until(lambda: log.exists() and "up" in log.read_text())
    parent.kill()
    await parent.wait()
    await until(lambda: gone(pid))


async def test_what_cannot_be_started_again_is_tried_until_it_can(scene: Scene) -> None:
    refusals = ["no memory", "no memory"]

    class Moody(ChildProcess):
        async def start(self) -> None:
            if self.pid and refusals:
                raise OSError(refusals.pop())
            await super().start()

    child = scene.child("worker", LIVES, Moody)
    await scene.supervisor.start(child)
    await scene.until_logged("worker", "up")
    first = child.pid
    assert first
    os.kill(first, signal.SIGKILL)
    await until(lambda: "worker is started again" in scene.told)
    assert scene.told[1:3] == [
        "worker cannot be started: no memory; trying again in 0.02 s",
        "worker cannot be started: no memory; trying again in 0.04 s",
    ]


# -- the log of a role ------------------------------------------------------------------------------------------------


def write(log: RoleLog, text: bytes) -> None:
    end = log.open_pipe()
    os.write(end, text)
    os.close(end)
    log.wait_for_the_end(5)


def test_a_log_goes_on_after_a_restart(tmp_path: Path) -> None:
    log = RoleLog(tmp_path / "logs" / "api.log")
    write(log, b"one\ntw")
    write(log, b"o\n")
    assert log.path.read_bytes() == b"one\ntw\no\n"


def test_a_log_is_bounded_and_its_lines_stay_whole(tmp_path: Path) -> None:
    log = RoleLog(tmp_path / "api.log", max_bytes=1000)
    line = b"x" * 99 + b"\n"
    for _ in range(35):
        write(log, line)
    kept = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert [len(text) for text in kept] == [500, 1000]
    assert set(b"".join(kept).splitlines(keepends=True)) == {line}


async def test_an_endless_line_is_cut_rather_than_kept_in_memory(tmp_path: Path) -> None:
    log = RoleLog(tmp_path / "api.log", max_bytes=1000)
    end = log.open_pipe()
    os.write(end, b"x" * 5000)
    await until(log.path.with_suffix(".log.1").exists)
    os.close(end)


def test_the_last_words_are_the_error_line_where_there_is_one(tmp_path: Path) -> None:
    log = RoleLog(tmp_path / "api.log")
    write(log, b'{"level":"INFO"}\nError: it rains\n{"level":"INFO"}\n\n')
    assert log.last_words() == "it rains"
    write(log, b"Killed\n\n")
    assert log.last_words() == "Killed"
    write(log, b"")
    assert log.last_words() == ""


def test_a_full_disk_does_not_hold_up_a_role(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    log = RoleLog(folder / "api.log")
    (folder).mkdir()
    (folder / "api.log").mkdir()  # cannot be written
    began = time.monotonic()
    with contextlib.suppress(OSError):
        write(log, b"one\n" * 100_000)
    assert time.monotonic() - began < 5
    assert log.last_words() == "one"
