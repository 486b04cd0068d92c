"""The worker between a real broker, a real log and the sandbox portal over HTTP (contract messaging.md 3, 4)."""

import asyncio

import pytest

from consumers.worker import run_worker
from domain.application_events import RetryScheduled
from domain.commands import ApplicationCommands
from domain.errors import NewerEvent
from domain.rejected_message import message_stream
from infra import metrics
from infra.event_log import EventStore
from infra.messages import Message, QueueKind
from infra.rabbitmq import open_publisher
from infra.settings import Settings
from tests.builders import a_job
from tests.component.consumers.at_work import (
    append_from_the_future,
    ended,
    names,
    submit,
    summary,
    working,
)
from tests.heart import Beats
from tests.logged import logged
from tests.queues import Queues, content

# -- the whole path ---------------------------------------------------------------------------------------------------


async def test_applications_go_from_the_log_through_the_queue_to_the_portal_once(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues, sandbox: str
) -> None:
    consumed = metrics.QUEUE_MESSAGES_CONSUMED_TOTAL.value(queue_name=queues.names.processing, status="success")
    async with working(event_store, settings):
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
    async with working(event_store, settings):
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
    async with working(event_store, settings, workers=2):
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
    async with working(event_store, settings):
        await queues.until_depth(queues.names.processing, 0)
        await queues.put(queues.names.processing, body, message_id="m-1", correlation_id="c-9")
        [letter] = await queues.take(queues.names.dead_letters, 1)
    told = content(letter)
    assert (told["application_id"], told["attempts"], told["error_type"]) == (None, 0, error_type)
    assert (told["original_message"], told["correlation_id"]) == (original, "c-9")
    assert await queues.depth(queues.names.processing) == 0


async def test_log_lines_name_what_they_are_about(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    foreign = {"application_id": "a1b2c3d4", "user_id": "bob", "correlation_id": "c-9"}
    with logged() as lines:
        async with working(event_store, settings):
            id = await submit(commands)
            assert await ended(commands, id) == ["success"]
            await queues.put(queues.names.processing, foreign)
            await queues.take(queues.names.dead_letters, 1)
    told = ("application_id", "user_id", "correlation_id")
    named = {line["event_type"]: tuple(line.get(name) for name in told) for line in lines}
    assert named["application.success"] == (id.hex, "ada", "c-1")
    assert named["message_rejected"] == ("a1b2c3d4", "bob", "c-9")


async def test_a_message_for_an_unknown_or_anothers_application_is_a_dead_letter_only(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    id = await submit(commands)
    unknown = {"application_id": "a1b2c3d4", "user_id": "ada"}
    foreign = {"application_id": id.hex, "user_id": "bob"}
    async with working(event_store, settings):
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
    async with working(event_store, settings):
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
    async with working(event_store, off):
        await queues.until_depth(queues.names.processing, 0)
        await queues.put(queues.names.processing, {"application_id": id.hex, "user_id": "ada"})
        assert await ended(commands, id) == ["success"]


async def test_an_event_of_a_newer_release_halts_the_worker(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    id = await submit(commands)
    await append_from_the_future(event_store, id, 2)
    work = {"application_id": id.hex, "user_id": "ada"}
    await queues.make(queues.names.processing)
    await queues.put(queues.names.processing, work)
    with pytest.raises(NewerEvent):
        await asyncio.wait_for(run_worker(event_store, settings, Beats(), asyncio.Event()), 15)
    await queues.until_depth(queues.names.processing, 1)
