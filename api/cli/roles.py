"""The roles, put together: adapters opened, passed in, closed in order (contract cli.md 5)."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from api.cli.ending import CommandFailed
from infra import metrics
from infra.event_log import EventStore, open_event_log
from infra.metric_kinds import Role
from infra.role_server import CannotListen, Heartbeat, role_server
from infra.settings import Settings

SANDBOX_DATABASE = Path(".data/sandbox.db")


async def sandbox(settings: Settings, stop: asyncio.Event) -> None:
    from consumers.portals.sandbox.server import run

    host, port = settings.sandbox_portal_host, settings.sandbox_portal_port
    serving = asyncio.create_task(run(host, port, SANDBOX_DATABASE))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    serving.cancel()
    with suppress(asyncio.CancelledError):
        try:
            await serving
        except OSError as error:
            raise CommandFailed(
                f"SANDBOX_PORTAL_PORT: cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}"
            ) from None


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    from api import server
    from infra.mongo import MongoNotReplicaSet

    try:
        await server.serve(settings, stop)
    except (CannotListen, MongoNotReplicaSet) as error:
        raise CommandFailed(str(error)) from None


async def project(settings: Settings, stop: asyncio.Event) -> None:
    from infra.mongo import Mongo
    from projections.projector import run_projector

    async with (
        _open_role(settings, Role.PROJECTOR, settings.projector_metrics_port) as (event_store, heartbeat),
        Mongo.of(settings) as mongo,
    ):
        await run_projector(event_store, mongo, settings, heartbeat, stop)


async def relay(settings: Settings, stop: asyncio.Event, from_position: int | None = None) -> None:
    from consumers.relay import run_relay

    async with _open_role(settings, Role.RELAY, settings.relay_metrics_port) as (event_store, heartbeat):
        await run_relay(event_store, settings, heartbeat, stop, from_position)


async def work(settings: Settings, stop: asyncio.Event) -> None:
    from consumers.worker import run_worker

    async with _open_role(settings, Role.WORKER, settings.worker_metrics_port) as (event_store, heartbeat):
        await run_worker(event_store, settings, heartbeat, stop)


@asynccontextmanager
async def _open_role(settings: Settings, role: Role, port: int) -> AsyncIterator[tuple[EventStore, Heartbeat]]:
    """The event log and the role's own server. What cannot be had for good is one line."""
    from infra.mongo import MongoNotReplicaSet

    metrics.describe_service(settings.service_name, settings.environment)
    heartbeat = Heartbeat(role)
    try:
        async with open_event_log(
            settings.event_store, pool_size=settings.event_store_pool_size, batch_max=settings.append_batch_max
        ) as event_store:

            async def ready() -> Mapping[str, bool]:
                await event_store.ping()
                return {"event_store": True}

            async with role_server(
                heartbeat, ready, host=settings.host, port=port, check_seconds=settings.health_check_timeout_seconds
            ):
                yield event_store, heartbeat
    except (CannotListen, MongoNotReplicaSet) as error:
        raise CommandFailed(str(error)) from None
