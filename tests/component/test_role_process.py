"""How a role ends, over real processes: what its supervisor and its user may rely on (contract cli.md 3)."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.cli.ending import CRASHED, DONE, FAILED, INTERRUPTED

PROGRAM = """
import asyncio, os, sys
from api.cli.ending import CommandFailed
from api.cli.role_process import run_role
from domain.errors import NewerEvent

def say(word):
    sys.stdout.write(word + "\\n")  # in one piece: the log writes to stdout too
    sys.stdout.flush()

async def waits(settings, stop):
    say("up")
    await stop.wait()

async def never_ends(settings, stop):
    say("up")
    await stop.wait()
    say("asked")
    await asyncio.Event().wait()

async def takes_its_time(settings, stop):
    say("up")
    await stop.wait()
    say("asked")
    await asyncio.sleep(0.2)

async def halts(settings, stop):
    raise NewerEvent("JobTeleported/1 is newer than this release")

async def cannot_listen(settings, stop):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fails())

async def fails():
    raise CommandFailed("PORT is taken")

async def crashes(settings, stop):
    raise KeyError("sekret")

sys.exit(run_role("worker", locals()[sys.argv[1]]))
"""


@dataclass(frozen=True, slots=True)
class Ending:
    code: int
    logged: list[dict[str, Any]]
    told: str


class Process:
    """The program above, in one of its ways."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, way: str, folder: Path, **settings: str) -> "Process":
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                PROGRAM,
                way,
                cwd=folder,
                env={**os.environ, **settings},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        )

    async def prints(self, text: str) -> None:
        assert self._process.stdout
        async with asyncio.timeout(20):
            while (line := await self._process.stdout.readline()).strip() != text.encode():
                assert line, f"it ended: {await self.ending()}"

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def ending(self) -> Ending:
        stdout, stderr = await asyncio.wait_for(self._process.communicate(), 20)
        logged = [json.loads(line) for line in stdout.splitlines() if line.startswith(b"{")]
        assert self._process.returncode is not None
        return Ending(self._process.returncode, logged, stderr.decode())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, DONE), (signal.SIGINT, INTERRUPTED)])
async def test_a_signal_ends_it_in_order(number: signal.Signals, code: int, tmp_path: Path) -> None:
    process = await Process.start("waits", tmp_path)
    await process.prints("up")
    process.send(number)
    ending = await process.ending()
    assert (ending.code, ending.told) == (code, "")
    assert ending.logged[-1]["event_type"] == "role.ended"


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    process = await Process.start("never_ends", tmp_path)
    await process.prints("up")
    process.send(signal.SIGINT)
    await process.prints("asked")
    ending = asyncio.create_task(process.ending())
    while not ending.done():
        process.send(signal.SIGINT)
        await asyncio.wait([ending], timeout=0.1)
    assert ending.result().code == INTERRUPTED


async def test_a_signal_that_comes_twice_at_once_is_one(tmp_path: Path) -> None:
    process = await Process.start("takes_its_time", tmp_path)
    await process.prints("up")
    process.send(signal.SIGTERM)
    process.send(signal.SIGTERM)
    await process.prints("asked")
    process.send(signal.SIGTERM)
    assert (await process.ending()).logged[-1]["event_type"] == "role.ended"


@pytest.mark.parametrize(
    ("way", "line"),
    [
        ("halts", "Error: JobTeleported/1 is newer than this release\n"),
        ("cannot_listen", "Error: PORT is taken\n"),
    ],
)
async def test_what_starting_again_would_not_change_is_one_line_and_exit_code_1(
    way: str, line: str, tmp_path: Path
) -> None:
    ending = await (await Process.start(way, tmp_path)).ending()
    assert (ending.code, ending.told) == (FAILED, line)
    assert ending.logged[-1]["event_type"] == "role.halted"


async def test_a_crash_is_logged_with_its_traceback_and_told_apart_from_a_refusal(tmp_path: Path) -> None:
    ending = await (await Process.start("crashes", tmp_path, SECRET_KEY="sekret")).ending()
    assert (ending.code, ending.told) == (CRASHED, "Error: unexpected KeyError; the log has more\n")
    assert "in crashes" in ending.logged[-1]["error"]
    assert "sekret" not in json.dumps(ending.logged)
