"""The worker between a real broker, a real log and the sandbox portal over HTTP (contract messaging.md 3, 4)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from consumers.portals.sandbox import run as run_sandbox
from consumers.processing import claim_name
from consumers.relay import run_relay
from consumers.worker import run_worker
from domain.application_events import RetryScheduled
from domain.commands import ApplicationCommands
from domain.event import Cause
from domain.job import CvReference, Job
from domain.ports import Claim
from domain.rejected_message import message_stream
from domain.retry import RetryPolicy
from infra import metrics
from infra.clock import SystemClock
from infra.cv_store import CvStore
from infra.event_log import EventStore, open_event_log
from infra.local_servers import free_port
from infra.messages import Message, QueueKind
from infra.mongo import Mongo
from infra.rabbitmq import open_publisher
from infra.settings import Settings
from tests.builders import a_job
from tests.component.test_relay import Beats
from tests.pdfs import a_pdf
from tests.queues import Queues, content
from tests.tcp_proxy import TcpProxy

CAUSE = Cause("user:ada", "c-1")
ENDED = {"success", "failed", "cancelled"}


@pytest.fixture
async def queues(rabbitmq_url: str, queue_prefix: str) -> AsyncIterator[Queues]:
    queues = Queues(rabbitmq_url, queue_prefix)
    yield queues
    await queues.remove()


@pytest.fixture
async def event_store(sqlite_url: str) -> AsyncIterator[EventStore]:
    async with open_event_log(sqlite_url) as event_store:
        yield event_store


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[str]:
    """The portal's address."""
    port = free_port()
    serving = asyncio.create_task(run_sandbox("127.0.0.1", port, tmp_path / "sandbox.db"))
    async with aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"http://127.0.0.1:{port}/summary"):
                    break
            except aiohttp.ClientError:
                await asyncio.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


@pytest.fixture
def settings(queues: Queues, sandbox: str) -> Settings:
    return queues.settings(
        claim_seconds=1,
        retry_base_delay=0.05,
        retry_max_delay=0.2,
        shutdown_grace_seconds=3,
        max_retries=2,
        mongodb=f"mongodb://127.0.0.1:{free_port()}/?replicaSet=rs0",
        mongo_server_selection_timeout_ms=200,
        sandbox_portal_url=sandbox,
        portals={"blind": {"url": f"{sandbox}/submit-blind", "delivery": "at_most_once"}},
    )


@pytest.fixture
def commands(event_store: EventStore) -> ApplicationCommands:
    return ApplicationCommands(event_store.log, SystemClock(), RetryPolicy(max_retries=2))


@asynccontextmanager
async def running(event_store: EventStore, settings: Settings, *, workers: int = 1) -> AsyncIterator[asyncio.Event]:
    """A relay, and so many workers; the event stops the workers."""
    stop, stop_relay = asyncio.Event(), asyncio.Event()
    relay = asyncio.create_task(run_relay(event_store, settings, Beats(), stop_relay))
    at_work = [asyncio.create_task(run_worker(event_store, settings, Beats(), stop)) for _ in range(workers)]
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(*at_work), 20)
        stop_relay.set()
        await asyncio.wait_for(relay, 10)


async def submit(commands: ApplicationCommands, *jobs: Job, cv: CvReference | None = None) -> UUID:
    return (await commands.submit("ada", jobs or (a_job(),), None, cv, CAUSE)).application_id


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
    return [one.event.NAME.removeprefix("application.") for one in await event_store.log.read_stream(id)]


async def until_event(event_store: EventStore, id: UUID, name: str, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while name not in await names(event_store, id):
            await asyncio.sleep(0.02)


async def summary(sandbox: str) -> dict[str, int]:
    async with aiohttp.ClientSession() as http, http.get(f"{sandbox}/summary") as answer:
        counts: dict[str, int] = await answer.json()
    return counts


# -- the whole path ---------------------------------------------------------------------------------------------------


async def test_applications_go_from_the_log_through_the_queue_to_the_portal_once(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues, sandbox: str
) -> None:
    consumed = metrics.QUEUE_MESSAGES_CONSUMED_TOTAL.value(queue_name=queues.names.processing, status="success")
    async with running(event_store, settings):
        ids = [await submit(commands) for _ in range(60)]
        assert set(await ended(commands, *ids)) == {"success"}
        assert metrics.WORKER_ACTIVE.value(worker_name="application_worker") == 1
    assert (await summary(sandbox))["deliveries"] == (await summary(sandbox))["taken"] == 60
    assert await queues.depth(queues.names.processing) == 0
    assert metrics.WORKER_ACTIVE.value(worker_name="application_worker") == 0
    counted = metrics.QUEUE_MESSAGES_CONSUMED_TOTAL.value(queue_name=queues.names.processing, status="success")
    assert counted - consumed == 60
    told = [content(message)["status"] for message in await queues.take(queues.names.notifications, 180)]
    assert [told.count(one) for one in ("pending", "processing", "success")] == [60, 60, 60]


async def test_transient_failures_are_retried_and_permanent_ones_are_not(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues, sandbox: str
) -> None:
    async with running(event_store, settings):
        twice, never, closed = (
            await submit(commands, a_job("Baker [fail:2]")),
            await submit(commands, a_job("Cook [down]")),
            await submit(commands, a_job("Miller [reject]")),
        )
        assert await ended(commands, twice, never, closed) == ["success", "failed", "failed"]
        letters = {
            content(letter)["application_id"]: content(letter)
            for letter in await queues.take(queues.names.dead_letters, 2)
        }
    assert letters[never.hex]["attempts"] == 3
    assert letters[never.hex]["error_message"].startswith("Max retries exceeded: 503")
    assert (letters[closed.hex]["attempts"], letters[closed.hex]["error_message"]) == (1, "Position closed")
    assert (await summary(sandbox))["deliveries"] == 3 + 3 + 1
    delays = [
        (one.event.due_at - one.metadata.at).total_seconds()
        for one in await event_store.log.read_stream(never)
        if isinstance(one.event, RetryScheduled)
    ]
    assert delays == pytest.approx([0.05, 0.1], abs=0.002)


async def test_two_workers_send_each_job_once(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, sandbox: str
) -> None:
    async with running(event_store, settings, workers=2):
        ids = [await submit(commands, a_job("Baker [slow:0.05]", portal="blind")) for _ in range(30)]
        assert set(await ended(commands, *ids)) == {"success"}
    assert await summary(sandbox) == {"entries": 30, "deliveries": 30, "taken": 30, "taken_twice": 0, "refused": 0}


# -- messages that nobody can act on ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "error_type", "original"),
    [
        (b"not json", "JSONDecodeError", {"raw": "not json"}),
        (b"\xff\xfe", "JSONDecodeError", {"raw_base64": "//4="}),
        (b"[1]", "TypeError", {"raw": "[1]"}),
        (b'{"user_id": "7"}', "KeyError", {"raw": '{"user_id": "7"}'}),
    ],
)
async def test_what_cannot_be_read_becomes_a_dead_letter(
    event_store: EventStore, settings: Settings, queues: Queues, body: bytes, error_type: str, original: dict[str, str]
) -> None:
    async with running(event_store, settings):
        await queues.until_depth(queues.names.processing, 0)
        await queues.put(queues.names.processing, body, message_id="m-1", correlation_id="c-9")
        [letter] = await queues.take(queues.names.dead_letters, 1)
    told = content(letter)
    assert (told["application_id"], told["attempts"], told["error_type"]) == (None, 0, error_type)
    assert (told["original_message"], told["correlation_id"]) == (original, "c-9")
    assert await queues.depth(queues.names.processing) == 0


async def test_a_message_for_an_unknown_or_anothers_application_is_a_dead_letter_only(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    id = await submit(commands)
    unknown = {"application_id": "a1b2c3d4", "user_id": "ada"}
    foreign = {"application_id": id.hex, "user_id": "bob"}
    async with running(event_store, settings):
        assert await ended(commands, id) == ["success"]
        await queues.put(queues.names.processing, unknown)
        await queues.put(queues.names.processing, foreign)
        letters = [content(letter) for letter in await queues.take(queues.names.dead_letters, 2)]
    assert {letter["application_id"] for letter in letters} == {"a1b2c3d4", id.hex}
    assert {letter["error_type"] for letter in letters} == {"ApplicationNotFound"}
    assert (await names(event_store, id))[-1] == "succeeded"


async def test_an_unreadable_message_that_comes_again_is_recorded_once(
    event_store: EventStore, settings: Settings, queues: Queues
) -> None:
    async with running(event_store, settings):
        await queues.until_depth(queues.names.processing, 0)
        for _ in range(3):
            await queues.put(queues.names.processing, b"not json", message_id="m-1")
        for _ in range(2):
            await put_without_id(queues, b"not json")
        await queues.take(queues.names.dead_letters, 3)
        await queues.until_depth(queues.names.processing, 0)
    assert len(await event_store.log.read_stream(message_stream("m-1", b"not json"))) == 1
    assert len(await event_store.log.read_stream(message_stream(None, b"not json"))) == 2
    assert await queues.depth(queues.names.dead_letters) == 0


async def put_without_id(queues: Queues, body: bytes) -> None:
    """The client library gives every message an id, so this goes by our own publisher."""
    settled = asyncio.Event()
    async with open_publisher(queues.url, queues.names.processing, "", lambda *_: settled.set()) as publisher:
        await publisher.send([Message(QueueKind.PROCESSING, "", body)])
        await settled.wait()


async def test_a_message_from_outside_without_a_version_is_worked_on(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    off = settings.model_copy(update={"async_processing_enabled": False})
    id = await submit(commands)
    async with running(event_store, off):
        await queues.until_depth(queues.names.processing, 0)
        await queues.put(queues.names.processing, {"application_id": id.hex, "user_id": "ada"})
        assert await ended(commands, id) == ["success"]


# -- claims, redelivery, outages --------------------------------------------------------------------------------------


async def test_a_message_of_a_claimed_application_is_kept_until_the_claim_ends(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    id, other = await submit(commands), await submit(commands)
    claim = Claim(claim_name(id), "another", 60)
    await event_store.claims.take(claim)
    async with running(event_store, settings):
        assert await ended(commands, other) == ["success"]
        await asyncio.sleep(0.5)
        assert await names(event_store, id) == ["submitted"]
        assert await queues.depth(queues.names.processing) == 0
        await event_store.claims.release(claim)
        assert await ended(commands, id) == ["success"]


async def test_a_connection_to_the_broker_that_is_lost_sends_nothing_twice(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues, sandbox: str
) -> None:
    host, port = queues.url.rsplit("@", 1)[1].rstrip("/").split(":")
    async with TcpProxy(host, int(port)) as proxy:
        through = settings.model_copy(update={"rabbitmq_url": f"amqp://guest:guest@127.0.0.1:{proxy.listens}/"})
        async with running(event_store, through):
            ids = [await submit(commands, a_job("Baker [slow:1]", portal="blind")) for _ in range(5)]
            for id in ids:
                await until_event(event_store, id, "job_attempted")
            for connection in list(proxy._connections):
                connection.cancel()
            more = await submit(commands)
            assert set(await ended(commands, *ids, more)) == {"success"}
    assert (await summary(sandbox))["deliveries"] == 6
    await queues.until_depth(queues.names.processing, 0)


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
    async with running(event_store, away):
        waiting, other = await submit(commands, cv=cv), await submit(commands)
        assert await ended(commands, other) == ["success"]
        assert await names(event_store, waiting) == ["submitted"]
        proxy = TcpProxy(host, int(port))
        proxy._server = await asyncio.start_server(proxy._serve, "127.0.0.1", closed)
        assert await ended(commands, waiting) == ["success"]
        [entry] = await received(sandbox, waiting)
        assert entry["taken"] == 1
    await proxy.__aexit__(None, None, None)


async def received(sandbox: str, id: UUID) -> list[dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{sandbox}/received", params={"application_id": id.hex}) as answer,
    ):
        entries: list[dict[str, Any]] = (await answer.json())["data"]
    return entries


# -- stopping ---------------------------------------------------------------------------------------------------------


async def test_a_worker_that_stops_lets_running_jobs_end(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    async with running(event_store, settings) as stop:
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
    async with running(event_store, hasty) as stop:
        id = await submit(commands, a_job("Baker [slow:2]", portal=portal))
        await until_event(event_store, id, "job_attempted")
        begun = asyncio.get_running_loop().time()
        stop.set()
        await until_event(event_store, id, "retry_scheduled" if portal == "sandbox" else "failed")
        assert asyncio.get_running_loop().time() - begun < 1.5
    assert not await event_store.claims.held([claim_name(id)])
    async with running(event_store, settings):
        assert await ended(commands, id) == [then]
    loaded = await commands.load(id)
    assert loaded
    assert loaded.application.retries_used == 0
    assert (await summary(sandbox))["taken_twice"] == 0


async def test_what_was_not_begun_goes_back_to_the_queue(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    id = await submit(commands)
    claim = Claim(claim_name(id), "another", 60)
    await event_store.claims.take(claim)
    async with running(event_store, settings) as stop:
        await queues.until_depth(queues.names.notifications, 1)
        await queues.until_depth(queues.names.processing, 0)
        stop.set()
        await queues.until_depth(queues.names.processing, 1)
    assert await names(event_store, id) == ["submitted"]
