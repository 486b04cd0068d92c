"""Processes under test: looked at until they are as they should be."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.local_servers.process import Process, family

BOUND_SECONDS = 30.0


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(BOUND_SECONDS):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


def children_running(program: Path, parent: int | None = None) -> list[int]:
    """Process ids of those that a process (ours, unless it is named) has started for a program."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, its_parent = stat.read_text().rsplit(")", 1)[1].split()[:2]
            command = (stat.parent / "cmdline").read_text()
        except OSError:
            continue
        if int(its_parent) == (parent or os.getpid()) and state != "Z" and str(program) in command:
            found.append(int(stat.parent.name))
    return found


def seconds_worked(process: int) -> float:
    """CPU time of a process."""
    ticks = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[11]
    return int(ticks) / os.sysconf("SC_CLK_TCK")


def is_alive(process: int) -> bool:
    try:
        return bool(Path(f"/proc/{process}/cmdline").read_bytes())
    except OSError:
        return False


async def any_alive(processes: list[Process]) -> bool:
    return await asyncio.to_thread(lambda: any(process.alive() for process in processes))


def processes_of(folder: Path) -> list[Process]:
    state = json.loads((folder / "server.json").read_bytes())
    return [relative for one in (state["server"], *state["companions"]) for relative in family(Process(*one))]


def states_of(pid: int) -> set[str]:
    """Letters of proc(5), of a process and its children, T if stopped: asked of the kernel, not of our own code.

    Without Z: a child that has ended, but whose parent was stopped before it could reap it.
    """
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    stats = [Path(f"/proc/{one}/stat").read_text() for one in (pid, *children)]
    return {stat.rpartition(")")[2].split()[0] for stat in stats} - {"Z"}


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
