"""`serve --reload`: the API in a child process, ended and started again whenever a Python file of ours changes.

A child that ends by itself, with a syntax error say, is started again at the next change.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from api.cli.child import leashed
from api.cli.interruption import Interruption

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = tuple(ROOT / name for name in ("api", "consumers", "domain", "infra", "projections"))
_LOOK_EVERY_SECONDS = 0.5
_END_SECONDS = 5.0  # development: nobody waits for 30 s to see a change

Seen = Mapping[Path, int]


def look(folders: Sequence[Path]) -> Seen:
    """The time of the last change, in nanoseconds, of every Python file. Blocks: call it in a thread."""
    seen = {}
    for folder in folders:
        for path in folder.rglob("*.py"):
            with contextlib.suppress(FileNotFoundError):
                seen[path] = path.stat().st_mtime_ns
    return seen


async def run_reloading(argv: Sequence[str], folders: Sequence[Path] = FOLDERS) -> int:
    """Runs `argv` until it is interrupted. Gives the exit code."""
    interruption = Interruption()
    with interruption.listening():
        asked = asyncio.create_task(interruption.asked.wait())
        while not asked.done():
            before = await asyncio.to_thread(look, folders)
            child = await asyncio.create_subprocess_exec(*leashed(argv))
            changed = asyncio.create_task(_changed(folders, before))
            await asyncio.wait({asked, changed}, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            await _end(child)
            if not asked.done():
                print(f"{changed.result()} changed: starting again", file=sys.stderr)
    return interruption.exit_code


async def _changed(folders: Sequence[Path], before: Seen) -> Path:
    """Waits for a change, a new file or a missing one, and gives its path."""
    while True:
        await asyncio.sleep(_LOOK_EVERY_SECONDS)
        now = await asyncio.to_thread(look, folders)
        if now != before:
            return min(path for path, _ in set(now.items()) ^ set(before.items()))


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(child.wait(), _END_SECONDS)
    except TimeoutError:
        child.kill()
        await child.wait()
