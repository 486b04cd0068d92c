"""`app-manager up` as a user runs it: in an empty folder, with nothing running, ended by Ctrl-C or by the kernel."""

import asyncio
import contextlib
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra.local_servers import temporary_folder
from tests.end_to_end.service import until
from tests.pdfs import MARY, a_pdf
from tests.ports import free_ports

READY_SECONDS = 30.0  # promised, once all is installed
DEMO_SECONDS = 30.0
DEMO_USERS = 3
STOP_SECONDS = 20.0
README = Path(__file__).parents[2] / "README.md"
PORTS = ("PORT", "SANDBOX_PORTAL_PORT", "WORKER_METRICS_PORT", "RELAY_METRICS_PORT", "PROJECTOR_METRICS_PORT")


@dataclass(slots=True)
class Up:
    """One run of the command, and what it has printed."""

    folder: Path
    process: asyncio.subprocess.Process
    printed: str = ""
    reader: asyncio.Task[None] = field(init=False)

    async def read(self) -> None:
        assert self.process.stdout
        while chunk := await self.process.stdout.read(4096):
            self.printed += chunk.decode()

    async def prints(self, text: str, seconds: float) -> None:
        async def look() -> bool:
            return text in self.printed or self.reader.done()

        await until(look, f"{text!r} in\n{self.printed}\n{self.logs()}", seconds)
        assert text in self.printed, f"it ended without {text!r}:\n{self.printed}\n{self.logs()}"

    async def ends(self, number: signal.Signals, seconds: float = STOP_SECONDS) -> int:
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), seconds)

    def curl_lines(self) -> list[str]:
        return [line for line in self.printed.splitlines() if line.startswith("curl ")]

    def listed(self, title: str) -> list[list[str]]:
        """The cells of a table that it printed, row by row."""
        table = self.printed.partition(f"\n{title}")[2].partition("\n\n")[0]
        return [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if line.startswith("│")]

    def logs(self) -> str:
        logs = sorted((self.folder / ".data" / "logs").glob("*.log"))
        return "\n".join(f"-- {log.name}\n" + "\n".join(log.read_text().splitlines()[-10:]) for log in logs)


def own_environment(**settings: str) -> dict[str, str]:
    """What a new user's shell says: nothing of the service."""
    kept = ("PATH", "HOME", "XDG_CACHE_HOME", "LANG", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
    return {name: os.environ[name] for name in kept if name in os.environ} | settings


@asynccontextmanager
async def running(folder: Path, *options: str, **settings: str) -> AsyncIterator[Up]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "api.cli", "up", *options,
        cwd=folder, env=own_environment(**settings), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    up = Up(folder, process)
    up.reader = asyncio.create_task(up.read())
    try:
        yield up
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await up.reader


async def shell(line: str, folder: Path) -> str:
    """What a pasted line prints. Fails with its status and stderr."""
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", line, cwd=folder, env=own_environment(),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    stdout, stderr = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, f"{line}: {stderr.decode()}"
    return stdout.decode()


def left_behind(folder: Path) -> list[str]:
    """Every living process that runs in the folder, or was started with a word of it."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            places = (str((process / "cwd").readlink()), command)
            if state not in "ZX" and any(str(folder) in place for place in places):
                found.append(f"{process.name}: {command}")
    return found


async def nothing_is_left(folder: Path) -> None:
    async def look() -> bool:
        return not left_behind(folder)

    await until(look, f"no process is left of {left_behind(folder)}", 10)


@pytest.fixture
def folder() -> Any:
    """Empty, and reachable for the servers' own users."""
    with temporary_folder() as folder:
        yield folder


@pytest.fixture
def ports() -> dict[str, str]:
    return dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))


@pytest.mark.timeout(180)
async def test_the_demo_runs_in_an_empty_folder_and_again_with_its_data(folder: Path, ports: dict[str, str]) -> None:
    async with running(folder, "--demo", **ports) as up:
        await up.prints("Ready after", READY_SECONDS)
        await up.prints("Ctrl-C ends all", DEMO_SECONDS)
        applied, failed = up.listed("Applied"), up.listed("Failed")
        assert {"Python Developer", "Data Engineer", "SRE [fail:2]"} <= {row[2] for row in applied}
        assert {(row[2], row[5]) for row in failed} >= {("Team Lead [reject]", "Position closed")}
        await then_it_was_followed_by_streams(up)
        await then_every_printed_line_works(up)
        await then_a_second_up_is_refused(folder, ports)
        assert await up.ends(signal.SIGINT) == 130, up.printed
    await nothing_is_left(folder)

    async with running(folder, "--demo", **ports) as up:
        await up.prints("Ctrl-C ends all", READY_SECONDS + DEMO_SECONDS)
        assert {row[0] for row in applied} < {row[0] for row in up.listed("Applied")}
        assert {row[0] for row in failed} < {row[0] for row in up.listed("Failed")}
        await then_the_lines_of_the_readme_work(up, ports)
        assert await up.ends(signal.SIGTERM) == 0, up.printed
    await nothing_is_left(folder)


async def then_it_was_followed_by_streams(up: Up) -> None:
    """One for each user, and nobody asked for a status again and again. A stream is logged when it has ended."""
    log = up.folder / ".data" / "logs" / "api.log"

    def asked() -> list[str]:
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        return [line["path"] for line in lines if line.get("event_type") == "http_request"]

    async def look() -> bool:
        return asked().count("/stream/status") >= DEMO_USERS

    await until(look, f"{DEMO_USERS} streams in\n{up.logs()}", 10)
    assert not [path for path in asked() if path.startswith("/applications/")]


async def then_the_lines_of_the_readme_work(up: Up, ports: dict[str, str]) -> None:
    """As printed there, but for where it is installed and the ports of this test."""
    (up.folder / "cv.pdf").write_bytes(a_pdf(MARY))
    lines = "\n".join(re.findall(r"^\$ ((?:.*\\\n)*.*)", README.read_text(), re.MULTILINE))
    lines = lines.replace(".venv/bin/app-manager", f"{shlex.quote(sys.executable)} -P -m api.cli")
    lines = lines.replace(":8019", f":{ports['SANDBOX_PORTAL_PORT']}")
    used = [line for line in lines.splitlines() if not line.startswith("make ")]
    printed = await shell('curl() { command curl --fail-with-body "$@"; echo; }\n' + "\n".join(used), up.folder)
    assert printed.count('"status_url":') == 2, printed
    first, again = [line for line in printed.splitlines() if line.startswith('{"batch_id"')]
    assert first == again, "with the same idempotency key"
    assert '"taken_twice":0' in printed
    assert "Successful Applications" in printed, "by the address in .data/services.env"
    assert (up.folder / "applications.csv").read_text().startswith("Application ID,")


async def then_every_printed_line_works(up: Up) -> None:
    lines = up.curl_lines()
    assert len(lines) == 6
    answers = [json.loads(await shell(line, up.folder)) for line in lines]
    assert answers[0]["status"] == "healthy"
    assert answers[1]["status"] == "pending"
    assert answers[2]["pagination"]["total_count"] >= 3
    assert answers[3]["pagination"]["total_count"] >= 1
    assert answers[4]["status"] == "success"
    assert answers[5]["cover_letter"]
    await then_the_written_addresses_lead_to_it(up)


async def then_the_written_addresses_lead_to_it(up: Up) -> None:
    """Another shell in the same folder finds the service by `.data/services.env`, and the key of its tokens."""
    command = shlex.join([sys.executable, "-P", "-m", "api.cli", "token", "ann"])
    ask = f'. .data/services.env; curl -s -H "Authorization: Bearer $({command})" "$APP_MANAGER_API_URL/applied"'
    assert json.loads(await shell(ask, up.folder))["pagination"]["total_count"] >= 3


async def then_a_second_up_is_refused(folder: Path, ports: dict[str, str]) -> None:
    async with running(folder, **ports) as second:
        assert await asyncio.wait_for(second.process.wait(), 10) == 1
        await second.reader
        assert re.fullmatch(r"Error: `up` runs in this folder already \(process \d+\): .*\n", second.printed)


@pytest.mark.timeout(180)
async def test_what_dies_comes_back_and_nothing_survives_a_kill_of_up(folder: Path, ports: dict[str, str]) -> None:
    async with running(folder, "--demo", **ports) as up:  # with the demo's CV, the worker has a child of its own
        await up.prints("Ctrl-C ends all", READY_SECONDS + DEMO_SECONDS)
        submit, status = up.curl_lines()[1], "applications"
        for name in ("MongoDB", "RabbitMQ"):
            os.kill(int(re.search(rf"{name} .*process (\d+)", up.printed).group(1)), signal.SIGKILL)  # type: ignore[union-attr]
            await up.prints(f"{name} ended", 10)
            await up.prints(f"{name} is started again", READY_SECONDS)
        for name, command in (("worker", "work"), ("api", "serve")):
            os.kill(pid_of(folder, command), signal.SIGKILL)
            await up.prints(f"{name} is started again", 10)
        curl = submit.partition(" --data")[0]

        async def is_ready() -> bool:
            answer = await shell(f"{curl} -o /dev/null -w '%{{http_code}}' {url(up)}/health/ready || true", folder)
            return answer == "200"

        await until(is_ready, "the API is ready again", READY_SECONDS)
        application_id = json.loads(await shell(submit, folder))["application_id"]

        async def has_ended() -> bool:
            answer = await shell(f"{curl} {url(up)}/{status}/{application_id}/status", folder)
            return bool(json.loads(answer).get("status") == "success")

        await until(has_ended, "the application is applied for", READY_SECONDS)
        up.process.kill()
    await nothing_is_left(folder)


def url(up: Up) -> str:
    found = re.search(r"Ready after .*: (http://\S+)", up.printed)
    assert found
    return found.group(1)


def pid_of(folder: Path, command: str) -> int:
    [line] = [line for line in left_behind(folder) if line.strip().endswith(f"api.cli {command}")]
    return int(line.partition(":")[0])


async def test_a_taken_port_is_told_before_anything_is_started(folder: Path, ports: dict[str, str]) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", int(ports["WORKER_METRICS_PORT"]))
    async with server, running(folder, **ports) as up:
        assert await asyncio.wait_for(up.process.wait(), 20) == 1
        await up.reader
        where = f"127.0.0.1:{ports['WORKER_METRICS_PORT']}"
        assert (
            f"Error: the worker cannot listen on {where}: it is taken (choose another: WORKER_METRICS_PORT=...)\n"
            in up.printed
        )
    assert left_behind(folder) == []


@pytest.mark.parametrize(
    "settings",
    [{"ENVIRONMENT": "production"}, {"MAX_RETRIES": "-1"}, {"OIDC_ISSUER": "https://issuer.example"}],
)
async def test_a_setting_that_cannot_be_used_is_one_line(folder: Path, settings: dict[str, str]) -> None:
    async with running(folder, "--demo", **settings) as up:
        assert await asyncio.wait_for(up.process.wait(), 20) == 1
        await up.reader
        assert re.fullmatch(r"Error: (SECRET_KEY|MAX_RETRIES|OIDC_ISSUER) .*\n", up.printed)
