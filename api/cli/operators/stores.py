"""An operator's command as this process: settings read once, the stores opened, and how it ends (contract cli.md 3).

Ctrl-C, SIGTERM and a closed terminal cancel what runs and end it with 130: all of it may be started again. What a store
says is one line. A log that is not there is not made: the command was given in another folder than the service's.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import typer
import uvloop

from api.cli.ending import INTERRUPTED, CommandFailed
from api.cli.interruption import Interruption
from api.cli.settings_here import settings_here
from domain.errors import NewerEvent, ReadModelBehind, StoreError
from domain.ports import EventLog
from infra.event_log import open_event_log
from infra.memory import rare_collections
from infra.mongo import Mongo, MongoUnusable
from infra.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stores:
    """What a command works on, open."""

    settings: Settings
    log: EventLog
    mongo: Mongo


Work = Callable[[Stores], Awaitable[T]]


def run(work: Work[T]) -> T:
    """What it gives. Raises CommandFailed, SettingsError, and typer.Exit when it is interrupted."""
    settings = settings_here()
    _check_that_the_log_is_there(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_until_interrupted(work, settings))


async def _until_interrupted(work: Work[T], settings: Settings) -> T:
    interruption = Interruption()
    is_main = threading.current_thread() is threading.main_thread()
    with interruption.listening() if is_main else nullcontext():
        running = asyncio.ensure_future(_with_stores(work, settings))
        asked = asyncio.create_task(interruption.asked.wait())
        await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
        if running.cancelled() or interruption.asked.is_set():
            raise typer.Exit(INTERRUPTED)
        return running.result()


async def _with_stores(work: Work[T], settings: Settings) -> T:
    opening = open_event_log(
        settings.event_store, pool_size=settings.event_store_pool_size, batch_max=settings.append_batch_max
    )
    try:
        async with opening as store, Mongo.of(settings) as mongo:
            with rare_collections():
                return await work(Stores(settings, store.log, mongo))
    except (StoreError, ReadModelBehind, NewerEvent, MongoUnusable) as error:
        raise CommandFailed(str(error)) from error


def _check_that_the_log_is_there(settings: Settings) -> None:
    kind, _, path = settings.event_store.partition(":///")
    if kind == "sqlite" and not Path(path).exists():
        raise CommandFailed(f"there is no event log at {path}: give this command where `up` runs, or set EVENT_STORE")
