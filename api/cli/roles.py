"""The roles, put together: adapters opened, passed in, closed in order (contract cli.md 5).

What starting again would not change is told as CommandFailed: a taken port, a standalone MongoDB, a setting that cannot
be used. An event store that is away is waited for; the role's own server answers meanwhile that it is alive, not ready.
Once a role runs, it handles the absence of every store itself.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from api.cli.adapters import check_adapters
from api.cli.ending import CommandFailed
from domain.errors import StoreFailed, StoreTimeout, StoreUnavailable
from infra import metrics
from infra.event_log import EventStore, open_event_log
from infra.memory import rare_collections
from infra.metric_kinds import Role
from infra.role_server import CannotListen, Heartbeat, role_server
from infra.settings import Settings

SANDBOX_DATABASE = Path(".data/sandbox.db")
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds, while the event store is away

T = TypeVar("T")

logger = logging.getLogger(__name__)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    from api import server

    with _told_in_one_line("PORT"):
        await _once_the_log_is_there(lambda: server.serve(settings, stop), settings, stop)


async def project(settings: Settings, stop: asyncio.Event) -> None:
    from infra.mongo import Mongo
    from projections.projector import run_projector

    async def run(event_store: EventStore, heartbeat: Heartbeat) -> None:
        async with Mongo.of(settings) as mongo:
            await run_projector(event_store, mongo, settings, heartbeat, stop)

    await _run_role(Role.PROJECTOR, "projector_metrics_port", settings, stop, run, needs=["read_models"])


async def relay(settings: Settings, stop: asyncio.Event, from_position: int | None = None) -> None:
    from consumers.relay import run_relay

    async def run(event_store: EventStore, heartbeat: Heartbeat) -> None:
        await run_relay(event_store, settings, heartbeat, stop, from_position)

    await _run_role(Role.RELAY, "relay_metrics_port", settings, stop, run)


async def work(settings: Settings, stop: asyncio.Event) -> None:
    from consumers.worker import run_worker

    async def run(event_store: EventStore, heartbeat: Heartbeat) -> None:
        await run_worker(event_store, settings, heartbeat, stop)

    await asyncio.to_thread(check_adapters, settings)
    await _run_role(Role.WORKER, "worker_metrics_port", settings, stop, run, needs=["rabbitmq"])


async def sandbox(settings: Settings, stop: asyncio.Event) -> None:
    from consumers.portals.sandbox.server import run

    host, port = settings.sandbox_portal_host, settings.sandbox_portal_port
    serving = asyncio.create_task(run(host, port, SANDBOX_DATABASE))
    stopped = asyncio.create_task(stop.wait())
    with rare_collections():
        await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    serving.cancel()
    with suppress(asyncio.CancelledError):
        try:
            await serving
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise CommandFailed(f"Cannot listen at {host} port {port}: {reason} (SANDBOX_PORTAL_PORT)") from None


async def _run_role(
    role: Role,
    port_setting: str,
    settings: Settings,
    stop: asyncio.Event,
    run: Callable[[EventStore, Heartbeat], Awaitable[None]],
    *,
    needs: Sequence[str] = (),
) -> None:
    """Runs it with the event log, beside the role's own server. `needs`: what else it says whether it has it."""
    heartbeat = Heartbeat(role, needs=needs)
    event_store: EventStore | None = None

    async def ready() -> Mapping[str, bool]:
        if event_store is not None:
            await event_store.ping()
        return {"event_store": event_store is not None}

    await asyncio.to_thread(metrics.describe_service, settings.service_name, settings.environment)
    port: int = getattr(settings, port_setting)
    seconds = settings.health_check_timeout_seconds
    async with AsyncExitStack() as opened:
        with _told_in_one_line(port_setting.upper()):
            await opened.enter_async_context(
                role_server(heartbeat, ready, host=settings.host, port=port, check_seconds=seconds)
            )
            event_store = await _once_the_log_is_there(
                lambda: opened.enter_async_context(_event_log(settings)), settings, stop, heartbeat.beat
            )
            if event_store is not None:
                with rare_collections():
                    await run(event_store, heartbeat)


def _event_log(settings: Settings) -> AbstractAsyncContextManager[EventStore]:
    return open_event_log(
        settings.event_store, pool_size=settings.event_store_pool_size, batch_max=settings.append_batch_max
    )


async def _once_the_log_is_there(
    open_it: Callable[[], Awaitable[T]],
    settings: Settings,
    stop: asyncio.Event,
    beat: Callable[[], None] = lambda: None,
) -> T | None:
    """Tries until the event store can be reached; None once `stop` is set. `beat` is called at each try.

    Raises CommandFailed for a store that waiting will not mend.
    """
    pause = FIRST_PAUSE
    while not stop.is_set():
        beat()
        try:
            return await open_it()
        except (StoreUnavailable, StoreTimeout, StoreFailed) as error:
            of_this_machine = settings.event_store.startswith("sqlite:") and not isinstance(error, StoreTimeout)
            if of_this_machine or isinstance(error, StoreFailed):
                raise CommandFailed(f"EVENT_STORE cannot be used: {_deepest(error)}") from None
            logger.warning("the event store is away", extra={"event_type": "role.waits", "error": str(error)})
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    return None


def _deepest(error: BaseException) -> BaseException:
    """What the store's own library said."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@contextmanager
def _told_in_one_line(port_variable: str) -> Iterator[None]:
    """What cannot be had for good."""
    from infra.mongo import MongoUnusable

    try:
        yield
    except CannotListen as error:
        raise CommandFailed(f"{error} (choose another: {port_variable}=...)") from None
    except MongoUnusable as error:
        raise CommandFailed(str(error)) from None
