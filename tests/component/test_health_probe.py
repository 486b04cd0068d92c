"""The image's health check, against the real server of a role and the real sandbox portal."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from consumers.portals.sandbox.server import run
from infra.health_probe import PLACES, place_of, problem
from infra.local_servers import free_port
from infra.metric_kinds import Role
from infra.role_server import STUCK_SECONDS, Heartbeat, role_server
from infra.settings import Settings
from tests.processes import until


@pytest.mark.parametrize("command", PLACES)
def test_it_knows_the_role_of_its_container_also_behind_an_init(command: str) -> None:
    program = ["/app/bin/python", "/app/bin/app-manager", command, ""]
    assert place_of(program) == place_of(["/sbin/docker-init", "--", *program]) == PLACES[command]


def test_a_command_that_is_no_role_has_nothing_to_be_asked() -> None:
    assert place_of(["/app/bin/python", "/app/bin/app-manager", "token", "ada", ""]) is None


def test_a_role_that_was_not_moved_is_where_the_settings_say() -> None:
    defaults = {name.upper(): field.default for name, field in Settings.model_fields.items()}
    for place in PLACES.values():
        assert defaults[place.port] == place.default
        assert place.host in defaults


async def test_a_live_role_is_told_from_a_stuck_one_and_from_one_that_is_not_ready() -> None:
    now, ready, port = 0.0, True, free_port()
    heartbeat = Heartbeat(Role.WORKER, lambda: now)

    async def checks() -> dict[str, bool]:
        return {"event_store": ready}

    async def told(kind: str) -> str | None:
        return await asyncio.to_thread(problem, PLACES["work"], kind, {"WORKER_METRICS_PORT": str(port)})

    async with role_server(heartbeat, checks, host="127.0.0.1", port=port, check_seconds=1):
        assert await told("live") is None
        assert await told("ready") is None
        ready = False
        assert await told("live") is None
        assert await told("ready") == f"/health/ready at port {port} answers 503"
        now = STUCK_SECONDS
        assert await told("live") == f"/health/live at port {port} answers 503"


def test_a_role_that_is_gone_is_told() -> None:
    port = free_port()
    told = problem(PLACES["serve"], "live", {"HOST": "0.0.0.0", "PORT": str(port)})
    assert told is not None
    assert told.startswith(f"/health/live at port {port}: ")
    assert "refused" in told


def test_a_role_that_was_told_to_listen_nowhere_is_well() -> None:
    assert problem(PLACES["relay"], "live", {"RELAY_METRICS_PORT": "0"}) is None


async def test_the_sandbox_portal_is_asked_what_it_answers(tmp_path: Path) -> None:
    port = free_port()
    serving = asyncio.create_task(run("127.0.0.1", port, tmp_path / "sandbox.db"))

    await until(lambda: problem(PLACES["sandbox"], "live", {"SANDBOX_PORTAL_PORT": str(port)}) is None)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


def test_it_starts_quickly_as_it_imports_nothing_of_the_project() -> None:
    code = "import infra.health_probe, sys; print(*sys.modules)"
    imported = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert {name for name in imported if name.startswith("infra")} == {"infra", "infra.health_probe"}
    assert not imported & {"aiohttp", "pydantic"}
