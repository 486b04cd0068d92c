"""A relay and workers in this process, and looks at what they do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import aiohttp

from consumers.relay import run_relay
from consumers.worker import run_worker
from domain.commands import ApplicationCommands
from domain.event import Cause, Event, Metadata, RecordedEvent
from domain.job import CvReference, Job
from domain.ports import Append
from infra.event_log import EventStore
from infra.settings import Settings
from tests.builders import a_job
from tests.heart import Beats
from tests.queues import Queues
from tests.tcp_proxy import TcpProxy

CAUSE = Cause("user:ada", "c-1")
ENDED = {"success", "failed", "cancelled"}


@asynccontextmanager
async def relaying(
    event_store: EventStore, settings: Settings, from_position: int | None = None
) -> AsyncIterator[None]:
    """A relay, stopped in order at the end."""
    stop, beats = asyncio.Event(), Beats()
    relay = asyncio.create_task(run_relay(event_store, settings, beats, stop, from_position))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(relay, 10)
        assert beats.count > 0


@asynccontextmanager
async def working(
    event_store: EventStore, settings: Settings, *, workers: int = 1, relays_by: Settings | None = None
) -> AsyncIterator[asyncio.Event]:
    """A relay, which may have settings of its own, and so many workers; the event stops the workers."""
    stop = asyncio.Event()
    async with relaying(event_store, relays_by or settings):
        at_work = [asyncio.create_task(run_worker(event_store, settings, Beats(), stop)) for _ in range(workers)]
        try:
            yield stop
        finally:
            stop.set()
            await asyncio.wait_for(asyncio.gather(*at_work), 20)


async def submit(commands: ApplicationCommands, *jobs: Job, cv: CvReference | None = None) -> UUID:
    return (await commands.submit("ada", jobs or (a_job(),), None, cv, CAUSE)).application_id


async def submit_many(commands: ApplicationCommands, count: int, *jobs: Job) -> list[UUID]:
    return list(await asyncio.gather(*(submit(commands, *jobs) for _ in range(count))))


async def status(commands: ApplicationCommands, id: UUID) -> str:
    loaded = await commands.load(id)
    assert loaded
    return loaded.application.status


async def ended(commands: ApplicationCommands, *ids: UUID, seconds: float = 20) -> list[str]:
    """Their statuses, once all have ended. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while set(found := [await status(commands, id) for id in ids]) - ENDED:
            await asyncio.sleep(0.03)
    return found


async def names(event_store: EventStore, id: UUID) -> list[str]:
    """What has happened to an application, in short."""
    return [one.event.NAME.removeprefix("application.") for one in await event_store.log.read_stream(id)]


async def until_event(event_store: EventStore, id: UUID, name: str, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while name not in await names(event_store, id):
            await asyncio.sleep(0.02)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def append_from_the_future(event_store: EventStore, id: UUID, version: int) -> None:
    """An event of a release that this one does not know."""

    class Future(Event, name="application.future"):
        pass

    metadata = Metadata(UUID(int=version), datetime.now(UTC).replace(microsecond=0), CAUSE)
    try:
        await event_store.log.append(Append([RecordedEvent(id, version, Future(), metadata)]))
    finally:
        del Event.BY_NAME["application.future"]


# -- the portal -------------------------------------------------------------------------------------------------------


async def summary(sandbox: str) -> dict[str, int]:
    async with aiohttp.ClientSession() as http, http.get(f"{sandbox}/summary") as answer:
        counts: dict[str, int] = await answer.json()
    return counts


async def received(sandbox: str, id: UUID) -> list[dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{sandbox}/received", params={"application_id": id.hex}) as answer,
    ):
        entries: list[dict[str, Any]] = (await answer.json())["data"]
    return entries


# -- the way to a server ----------------------------------------------------------------------------------------------


def proxy_of(queues: Queues, cut_at: bytes | None = None) -> TcpProxy:
    """A proxy in front of the broker."""
    host, port = queues.url.rsplit("@", 1)[1].rstrip("/").split(":")
    return TcpProxy(host, int(port), cut_at=cut_at)


def through(proxy: TcpProxy, settings: Settings) -> Settings:
    """Settings with the broker behind that proxy."""
    return settings.model_copy(update={"rabbitmq_url": f"amqp://guest:guest@127.0.0.1:{proxy.listens}/"})


def cut(proxy: TcpProxy) -> None:
    """All connections, now."""
    proxy.cut_all()


@asynccontextmanager
async def listening(port: int, proxy: TcpProxy) -> AsyncIterator[None]:
    """Where nothing listened until now, the proxy does."""
    proxy.own_port = port
    async with proxy:
        yield
