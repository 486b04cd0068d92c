"""The worker when claims are taken, connections and stores are lost, and when it stops (contract messaging.md 3, 6)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from consumers.processing import claim_name
from domain.commands import ApplicationCommands
from domain.ports import Append, Claim, EventLog
from infra.cv_store import CvStore
from infra.event_log import EventStore
from infra.local_servers import free_port
from infra.mongo import Mongo
from infra.settings import Settings
from tests.builders import a_job
from tests.component.consumers.at_work import (
    cut,
    ended,
    listening,
    names,
    proxy_of,
    received,
    submit,
    summary,
    through,
    until,
    until_event,
    working,
)
from tests.pdfs import a_pdf
from tests.queues import Queues
from tests.tcp_proxy import TcpProxy

# -- claims, redelivery, outages --------------------------------------------------------------------------------------


async def test_a_message_of_a_claimed_application_is_kept_until_the_claim_ends(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    id, other = await submit(commands), await submit(commands)
    claim = await claimed_by_another(event_store, id)
    async with working(event_store, settings):
        assert await ended(commands, other) == ["success"]
        await asyncio.sleep(0.5)
        assert await names(event_store, id) == ["submitted"]
        assert await queues.depth(queues.names.processing) == 0
        await event_store.claims.release(claim)
        assert await ended(commands, id) == ["success"]


async def claimed_by_another(event_store: EventStore, id: UUID) -> Claim:
    claim = Claim(claim_name(id), "another", 60)
    await event_store.claims.take(claim)
    return claim


async def test_a_connection_to_the_broker_that_is_lost_sends_nothing_twice(
    event_store: EventStore,
    commands: ApplicationCommands,
    settings: Settings,
    queues: Queues,
    sandbox: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with proxy_of(queues) as proxy, working(event_store, through(proxy, settings)):
        ids = [await submit(commands, a_job("Baker [slow:2.5]", portal="blind")) for _ in range(5)]
        for id in ids:
            await until_event(event_store, id, "job_attempted")
        cut(proxy)
        more = await submit(commands)
        assert set(await ended(commands, *ids, more)) == {"success"}
    assert (await summary(sandbox))["deliveries"] == 6
    assert "could not be handled" not in caplog.text
    await queues.until_depth(queues.names.processing, 0)


async def test_a_start_under_way_when_the_connection_is_lost_goes_on(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    """It gets into the log all the same: nobody would work under its claim."""
    log, begun = SlowStarts(event_store.log), asyncio.Event()
    log.begun = begun.set
    patient = settings.model_copy(update={"claim_seconds": 10})
    async with proxy_of(queues) as proxy, working(replace(event_store, log=log), through(proxy, patient)):
        id = await submit(commands)
        async with asyncio.timeout(10):
            await begun.wait()
        cut(proxy)
        assert await ended(commands, id) == ["success"]
        assert (await names(event_store, id)).count("processing_started") == 1


async def test_a_start_that_a_claim_bars_does_not_wait_when_the_connection_is_lost_meanwhile(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    id = await submit(commands)
    claim = await claimed_by_another(event_store, id)
    begun = asyncio.Event()
    slow = replace(event_store, log=SlowStarts(event_store.log, begun.set, before=True))
    patient = settings.model_copy(update={"claim_seconds": 10})
    async with proxy_of(queues) as proxy, working(slow, through(proxy, patient), relays_by=settings):
        async with asyncio.timeout(10):
            await begun.wait()
        [before] = handling()
        cut(proxy)
        await until(partial(_replaced, before))
        await event_store.claims.release(claim)
        assert await ended(commands, id) == ["success"]


@dataclass
class SlowStarts:
    """The log, but for what takes a claim: a second passes after it, or `before` it; `begun` is told when it begins."""

    log: EventLog
    begun: Callable[[], object] = bool
    before: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)

    async def append(self, append: Append) -> int:
        if append.take is not None and self.before:
            await self._pass()
        position = await self.log.append(append)
        if append.take is not None and not self.before:
            await self._pass()
        return position

    async def _pass(self) -> None:
        self.begun()
        await asyncio.sleep(1)


async def test_messages_that_wait_do_not_pile_up_when_the_connection_is_lost(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    id = await submit(commands)
    claim = await claimed_by_another(event_store, id)
    # the relay's connection is not cut: it would publish again what the broker had not confirmed yet
    async with proxy_of(queues) as proxy, working(event_store, through(proxy, settings), relays_by=settings):
        for _ in range(3):
            await until(lambda: len(handling()) == 1)
            [before] = handling()
            cut(proxy)
            await until(partial(_replaced, before))
            assert len(handling()) == 1
        await event_store.claims.release(claim)
        assert await ended(commands, id) == ["success"]


def _replaced(before: asyncio.Task[Any]) -> bool:
    return len(handling()) == 1 and before not in handling()


def handling() -> list[asyncio.Task[Any]]:
    """The worker's tasks, one for each message that it holds."""
    return [task for task in asyncio.all_tasks() if "Worker._handle" in repr(task.get_coro())]


async def test_while_mongodb_is_away_only_those_with_a_cv_wait(
    event_store: EventStore,
    commands: ApplicationCommands,
    settings: Settings,
    mongodb_uri: str,
    mongo_database: str,
    sandbox: str,
) -> None:
    async with Mongo(mongodb_uri, mongo_database) as mongo:
        cv = await CvStore(mongo).put("ada", a_pdf("Ada Baker"))
    host, port = mongodb_uri.removeprefix("mongodb://").split("/")[0].split(":")
    closed = free_port()
    away = settings.model_copy(
        update={"mongodb": f"mongodb://127.0.0.1:{closed}/?directConnection=true", "mongodb_database": mongo_database}
    )
    async with working(event_store, away):
        waiting, other = await submit(commands, cv=cv), await submit(commands)
        assert await ended(commands, other) == ["success"]
        assert await names(event_store, waiting) == ["submitted"]
        async with listening(closed, TcpProxy(host, int(port))):
            assert await ended(commands, waiting) == ["success"]
        [entry] = await received(sandbox, waiting)
        assert entry["taken"] == 1


# -- stopping ---------------------------------------------------------------------------------------------------------


async def test_a_worker_that_stops_lets_running_jobs_end(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    async with working(event_store, settings) as stop:
        id = await submit(commands, a_job("Baker [slow:1]"))
        await until_event(event_store, id, "job_attempted")
        stop.set()
        assert await ended(commands, id) == ["success"]
    assert await queues.depth(queues.names.processing) == 0


@pytest.mark.parametrize(("portal", "then"), [("sandbox", "success"), ("blind", "failed")])
async def test_after_the_grace_what_runs_is_given_back_unless_it_might_be_sent_twice(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, sandbox: str, portal: str, then: str
) -> None:
    hasty = settings.model_copy(update={"shutdown_grace_seconds": 0.1})
    async with working(event_store, hasty) as stop:
        id = await submit(commands, a_job("Baker [slow:2]", portal=portal))
        await until_event(event_store, id, "job_attempted")
        begun = asyncio.get_running_loop().time()
        stop.set()
        await until_event(event_store, id, "retry_scheduled" if portal == "sandbox" else "failed")
        assert asyncio.get_running_loop().time() - begun < 1.5
    assert not await event_store.claims.held([claim_name(id)])
    async with working(event_store, settings):
        assert await ended(commands, id) == [then]
    loaded = await commands.load(id)
    assert loaded
    assert loaded.application.retries_used == 0
    assert (await summary(sandbox))["taken_twice"] == 0


async def test_what_was_not_begun_goes_back_to_the_queue(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    id = await submit(commands)
    await claimed_by_another(event_store, id)
    async with working(event_store, settings) as stop:
        await queues.until_depth(queues.names.notifications, 1)
        await queues.until_depth(queues.names.processing, 0)
        stop.set()
        await queues.until_depth(queues.names.processing, 1)
    assert await names(event_store, id) == ["submitted"]
