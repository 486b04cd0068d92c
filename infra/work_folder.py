"""A folder for files in the making, which is removed whatever happens.

Who makes it removes it at its end. What a kill leaves is removed by whoever makes the next one of its kind: a folder is
locked while its maker lives, and a lock ends with its process.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

PREFIX = "app-manager-"
YOUNG_SECONDS = 60.0  # one that was just made may not be locked yet


@contextlib.asynccontextmanager
async def work_folder(kind: str) -> AsyncIterator[Path]:
    """Left-overs of the same kind are removed first. What is still open of its files can be read on after its end."""
    stack = contextlib.ExitStack()
    making = asyncio.ensure_future(asyncio.to_thread(stack.enter_context, _folder(f"{PREFIX}{kind}-")))
    try:
        yield await asyncio.shield(making)
    finally:
        await asyncio.shield(_leave(making, stack))


async def _leave(making: asyncio.Future[Path], stack: contextlib.ExitStack) -> None:
    await asyncio.wait([making])  # cancelled meanwhile, it is made all the same
    await asyncio.to_thread(stack.close)


@contextlib.contextmanager
def _folder(prefix: str) -> Iterator[Path]:
    for other in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        _remove_if_left(other)
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name, _locked(Path(name)):
        yield Path(name)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Raises BlockingIOError when somebody else has it."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)


def _remove_if_left(folder: Path) -> None:
    with contextlib.suppress(OSError):  # in use, gone, or another user's
        if time.time() - folder.stat().st_mtime > YOUNG_SECONDS:
            with _locked(folder):
                shutil.rmtree(folder)
