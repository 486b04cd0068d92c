"""How every server is started: folder, port, processes, state file, ready check.

A kill of ours at any point leaves no process: each dies with us (`leash.py`). What the folder says then is in
`folder.py`. Any other failure ends all that was started before it is told.
"""

import asyncio
import errno
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from infra.local_servers.diagnosis import SHOWN_LINES, explain, port_taken
from infra.local_servers.errors import LocalServerError, NotYetFree, PortTaken
from infra.local_servers.folder import STATE, free, prepare, readable_errors, sole_start, write_state
from infra.local_servers.process import Child, Command, end, spawn
from infra.local_servers.running import Running, tail

HOST = "127.0.0.1"
READY_SECONDS = 30.0
POLL_SECONDS = 0.05
TRIES = 5
AGAIN_SECONDS = 0.3
PORTS = range(10_000, 32_768)  # those of outgoing connections begin behind (Linux: ip_local_port_range)
PORT_TRIES = 100
LOG_BYTES = 16 * 1024 * 1024  # a longer log is put aside at the next start

Ready = Callable[[], Awaitable[bool]]  # bounded by itself to seconds; False as long as it cannot say yes


@dataclass(frozen=True, slots=True)
class Companion:
    """A process that a server needs beside it; it is up when its port answers."""

    command: Command
    port: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One start, all decided."""

    url: str
    command: Command
    ready: Ready
    companions: tuple[Companion, ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of server. `plan` finds the programs and prepares the data for a folder and a port; it may block."""

    name: str
    stop_signal: signal.Signals  # for a clean stop
    plan: Callable[[Path, int], Plan]
    ready_seconds: float = READY_SECONDS


async def start(kind: Kind, folder: Path, port: int | None) -> Running:
    """Returns when the server is ready; `port` None is a free one. Raises LocalServerError."""
    folder = await asyncio.to_thread(prepare, kind.name, folder)
    with sole_start(kind.name, folder):
        for tries_left in reversed(range(TRIES)):
            try:
                await asyncio.to_thread(free, kind.name, folder, kind.stop_signal)
                return await _start_at(kind, folder, free_port() if port is None else port)
            except (PortTaken, NotYetFree) as error:
                may_pass = port is None or isinstance(error, NotYetFree)
                if not (may_pass and tries_left):
                    raise
                await asyncio.sleep(AGAIN_SECONDS)
    raise AssertionError("the last try returns or raises")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens at now, and that no outgoing connection is given before it is used.

    Raises LocalServerError when none is found.
    """
    for _ in range(PORT_TRIES):
        with socket.socket() as listener, suppress(OSError):
            listener.bind((HOST, secrets.choice(PORTS)))
            return int(listener.getsockname()[1])
    raise LocalServerError(f"no port between {PORTS[0]} and {PORTS[-1]} is free")


async def answers(port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection(HOST, port)
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


async def _start_at(kind: Kind, folder: Path, port: int) -> Running:
    _require_free(kind.name, port)
    plan = await asyncio.to_thread(_planned, kind, folder, port)
    children: list[Child] = []
    try:
        for companion in plan.companions:
            children.append(await _spawn(kind.name, companion.command))
            await _until_ready(kind, companion.port, companion.command, children[-1], partial(answers, companion.port))
        server = await _spawn(kind.name, plan.command)
        children.insert(0, server)
        await asyncio.to_thread(_write_state, kind.name, folder, children)
        await _until_ready(kind, port, plan.command, server, plan.ready)
    except BaseException:
        await asyncio.to_thread(_end_all, children)
        raise
    return Running(
        name=kind.name,
        url=plan.url,
        pid=server.process.pid,
        log=plan.command.log,
        child=server,
        companions=tuple(children[1:]),
        stop_signal=kind.stop_signal,
        state_file=folder / STATE,
    )


def _require_free(name: str, port: int) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            listener.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise port_taken(name, port) from error
            raise LocalServerError(
                f"{name} cannot listen at port {port}: {error.strerror}; choose another port"
            ) from error


def _planned(kind: Kind, folder: Path, port: int) -> Plan:
    with readable_errors(kind.name, folder):
        plan = kind.plan(folder, port)
        for command in (plan.command, *(companion.command for companion in plan.companions)):
            if command.log.exists() and command.log.stat().st_size > LOG_BYTES:
                command.log.replace(f"{command.log}.1")
        return plan


async def _spawn(name: str, command: Command) -> Child:
    with readable_errors(name, command.folder):
        return await spawn(command)


def _write_state(name: str, folder: Path, children: list[Child]) -> None:
    with readable_errors(name, folder):
        write_state(folder, *(child.process for child in children))


async def _until_ready(kind: Kind, port: int, command: Command, child: Child, ready: Ready) -> None:
    try:
        async with asyncio.timeout(kind.ready_seconds):
            while not await ready():
                await _require_alive(kind, port, command, child)
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        words = await asyncio.to_thread(tail, command.log, SHOWN_LINES)
        raise LocalServerError(
            f"{kind.name} was not ready within {kind.ready_seconds:g} s; see {command.log}. Its last words:\n{words}"
        ) from None
    await _require_alive(kind, port, command, child)  # it may have been another one that answered


async def _require_alive(kind: Kind, port: int, command: Command, child: Child) -> None:
    exit_code = child.poll()
    if exit_code is not None:
        words = await asyncio.to_thread(tail, command.log, SHOWN_LINES, child.log_start)
        raise explain(kind.name, command.folder, port, exit_code, words)


def _end_all(children: list[Child]) -> None:
    for child in children:
        end(child.process, None, 0)
        child.poll()
