"""`app-manager up`: everything on this machine, in one terminal (contract cli.md 5).

One `up` a folder: a lock that the kernel frees. It brings all up (`api.cli.bring_up`) and serves until Ctrl-C, or until
a role has ended for good. Then all that it started is stopped in the reverse order, each role within
SHUTDOWN_GRACE_SECONDS and a little more; a second Ctrl-C kills. When it is killed itself, the kernel ends all of it.

Left behind is `.data/`: the servers' data, `services.env`, and `logs/<role>.log`. The next `up` goes on from there.
"""

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from api.cli.bring_up import DATA, LOGS, BringUp
from api.cli.ending import CommandFailed
from api.cli.interruption import Interruption
from api.cli.supervisor import Supervisor
from api.cli.terminal import Terminal
from infra.settings import Settings

_MORE_GRACE_SECONDS = 3.0  # to close what is open, after running work has had its time


async def run_up(settings: Settings, *, demo: bool, terminal: Terminal) -> int:
    """Runs until it is interrupted: the exit code. Raises CommandFailed when it cannot start, or a role cannot run.

    `settings` are those of the environment and `.env` alone.
    """
    if demo and settings.is_production:
        raise CommandFailed("the demo is for development: it does not run when ENVIRONMENT=production")
    if demo and settings.oidc_issuer:
        raise CommandFailed("the demo makes tokens of its own, which are not accepted when OIDC_ISSUER is set")
    interruption = Interruption()
    supervisor = Supervisor(terminal.tell)
    with _sole_up(), interruption.listening():
        work = asyncio.create_task(BringUp(settings, supervisor, terminal).run(demo=demo))
        halted = asyncio.create_task(supervisor.halted())
        asked = asyncio.create_task(interruption.asked.wait())
        await asyncio.wait({work, halted, asked}, return_when=asyncio.FIRST_COMPLETED)
        ended = next(task for task in (halted, work, asked) if task.done())
        await _end([work, halted, asked])
        if supervisor.runs:
            terminal.tell("\nStopping: what runs is brought to its end (Ctrl-C again: at once)")
            await _stop(supervisor, settings.shutdown_grace_seconds + _MORE_GRACE_SECONDS, interruption)
            terminal.tell("All stopped. The data is kept in .data/")
        if ended is halted:
            raise CommandFailed(f"{halted.result()} (log: {LOGS}/)")
        await ended
        return interruption.exit_code


async def _end(tasks: list[asyncio.Task[object]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _stop(supervisor: Supervisor, grace: float, interruption: Interruption) -> None:
    stopping = asyncio.create_task(supervisor.stop(grace))
    urged = asyncio.create_task(interruption.urged.wait())
    await asyncio.wait({stopping, urged}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        await supervisor.kill()
    urged.cancel()
    await stopping


@contextmanager
def _sole_up() -> Iterator[None]:
    """Raises CommandFailed while another `up` runs in this folder, or when nothing can be written here."""
    try:
        DATA.mkdir(exist_ok=True)
        lock = os.open(DATA / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CommandFailed(f"{DATA.absolute()} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        yield
    except BlockingIOError:
        pid = os.read(lock, 20).decode() or "?"
        raise CommandFailed(f"`up` runs in this folder already (process {pid}): use it, or stop it first") from None
    finally:
        os.close(lock)
