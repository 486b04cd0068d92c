"""The relay between a real log and a real broker (contract messaging.md, design 7)."""

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from consumers.relay import run_relay
from domain.commands import ApplicationCommands
from domain.errors import NewerEvent
from domain.ports import Append, Claim
from infra import metrics
from infra.checkpoints import CheckpointFolder
from infra.clock import SystemClock
from infra.event_log import EventStore
from infra.local_servers import free_port
from infra.relay_store import LEASE, read_totals
from infra.settings import Settings
from tests.builders import an_application
from tests.component.consumers.at_work import (
    append_from_the_future,
    listening,
    proxy_of,
    relaying,
    submit,
    submit_many,
    through,
    until,
)
from tests.heart import Beats
from tests.queues import Queues, content


@pytest.fixture
def settings(queues: Queues) -> Settings:
    return queues.settings(claim_seconds=1, mongodb=f"mongodb://127.0.0.1:{free_port()}/?replicaSet=rs0")


# -- publishing -------------------------------------------------------------------------------------------------------


async def test_each_submission_is_queued_and_told(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    async with relaying(event_store, settings):
        ids = await submit_many(commands, 50)
        work = await queues.take(queues.names.processing, 50)
        news = await queues.take(queues.names.notifications, 50)
    assert {content(message)["application_id"] for message in work} == {id.hex for id in ids}
    assert {content(message)["event"] for message in news} == {"application.submitted"}
    assert (await read_totals(event_store.database)).published == {
        queues.names.processing: 50,
        queues.names.notifications: 50,
    }


async def test_a_relay_that_starts_again_publishes_nothing_twice(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    for _ in range(3):
        async with relaying(event_store, settings):
            await submit_many(commands, 10)
            await queues.take(queues.names.processing, 10)
    assert await queues.depth(queues.names.processing) == 0
    assert await queues.depth(queues.names.notifications) == 30


async def test_an_application_is_told_in_order(event_store: EventStore, settings: Settings, queues: Queues) -> None:
    stories = [
        an_application(UUID(int=n)).submitted().started().attempted().refused().failed().retried().started()
        for n in range(1, 40)
    ]
    for story in stories:
        await event_store.log.append(Append(story.recorded()))
    async with relaying(event_store, settings):
        news = await queues.take(queues.names.notifications, 5 * len(stories))
    for story in stories:
        own = [content(message) for message in news if content(message)["application_id"] == story.id.hex]
        assert [one["status"] for one in own] == ["pending", "processing", "failed", "pending", "processing"]


async def test_a_failed_application_is_a_dead_letter(
    event_store: EventStore, settings: Settings, queues: Queues
) -> None:
    await event_store.log.append(
        Append(an_application().submitted().started().attempted().refused().failed().recorded())
    )
    async with relaying(event_store, settings):
        [letter] = await queues.take(queues.names.dead_letters, 1)
    assert content(letter)["error_message"] == "Position closed"
    totals = await read_totals(event_store.database)
    [(kind, count)] = totals.dead_letters.items()
    assert (kind.original_queue, kind.error_type, count) == (queues.names.processing, "PortalRefusedError", 1)


# -- delayed retries --------------------------------------------------------------------------------------------------


async def test_a_delayed_retry_is_published_when_it_is_due_and_not_before(
    event_store: EventStore, settings: Settings, queues: Queues
) -> None:
    due_at = SystemClock().now() + timedelta(seconds=1.5)
    story = an_application(at=SystemClock().now()).submitted().started().attempted().retry_scheduled(due_at=due_at)
    await event_store.log.append(Append(story.recorded()))
    async with relaying(event_store, settings):
        [first] = await queues.take(queues.names.processing, 1)
        assert content(first)["version"] == 1
        [second] = await queues.take(queues.names.processing, 1)
        assert timedelta(0) <= SystemClock().now() - due_at < timedelta(seconds=10)
    assert content(second)["version"] == 5
    assert await rows(event_store) == 0


async def test_a_delayed_retry_outlives_the_relay(event_store: EventStore, settings: Settings, queues: Queues) -> None:
    due_at = SystemClock().now() + timedelta(seconds=2)
    story = an_application(at=SystemClock().now()).submitted().started().attempted().retry_scheduled(due_at=due_at)
    await event_store.log.append(Append(story.recorded()))
    async with relaying(event_store, settings):
        await queues.take(queues.names.processing, 1)
        await until_rows(event_store, 1)
    await asyncio.sleep(max((due_at - SystemClock().now()).total_seconds(), 0) + 0.1)
    assert await queues.depth(queues.names.processing) == 0
    async with relaying(event_store, settings):
        [again] = await queues.take(queues.names.processing, 1)
    assert content(again)["version"] == 5


async def rows(event_store: EventStore) -> int:
    [[count]] = await event_store.database.transaction(lambda s: s.execute("SELECT count(*) FROM due_messages"))
    return int(count)


async def until_rows(event_store: EventStore, count: int) -> None:
    async with asyncio.timeout(5):
        while await rows(event_store) != count:
            await asyncio.sleep(0.02)


# -- queues that do not take ------------------------------------------------------------------------------------------


async def test_a_queue_that_is_full_holds_up_no_other_and_gets_all_in_the_end(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    await queues.make(queues.names.notifications, {"x-max-length": 3, "x-overflow": "reject-publish"})
    async with relaying(event_store, settings):
        await submit_many(commands, 20)
        assert len(await queues.take(queues.names.processing, 20)) == 20
        seen = {content(message)["application_id"] for message in await queues.take(queues.names.notifications, 3)}
        while len(seen) < 20:
            [message] = await queues.take(queues.names.notifications, 1, 40)
            seen.add(content(message)["application_id"])
    assert (await read_totals(event_store.database)).failures[queues.names.notifications] > 0


async def test_a_queue_that_is_deleted_is_made_again_and_nothing_new_is_lost(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    async with relaying(event_store, settings):
        await submit(commands)
        await queues.take(queues.names.processing, 1)
        await queues.remove(queues.names.processing)
        id = await submit(commands)
        [message] = await queues.take(queues.names.processing, 1)
    assert content(message)["application_id"] == id.hex


async def test_while_processing_is_switched_off_only_notifications_go_out(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    off = settings.model_copy(update={"async_processing_enabled": False})
    async with relaying(event_store, off):
        await submit_many(commands, 5)
        await queues.take(queues.names.notifications, 5)
        await until(lambda: metrics.OUTBOX_PENDING.value() == 5)
    async with relaying(event_store, settings):
        assert len(await queues.take(queues.names.processing, 5)) == 5
    assert await queues.depth(queues.names.notifications) == 0


async def test_submissions_wait_in_the_log_while_the_broker_is_away(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    closed = free_port()
    away = settings.model_copy(update={"rabbitmq_url": f"amqp://guest:guest@127.0.0.1:{closed}/"})
    async with relaying(event_store, away):
        await submit_many(commands, 5)
        await until(lambda: metrics.OUTBOX_PENDING.value() == 10)
        await until(lambda: metrics.OUTBOX_OLDEST_SECONDS.value() > 0.5)
        async with listening(closed, proxy_of(queues)):
            assert len(await queues.take(queues.names.processing, 5)) == 5
            assert len(await queues.take(queues.names.notifications, 5)) == 5
            await until(lambda: metrics.OUTBOX_PENDING.value() == 0)


async def test_a_connection_lost_in_mid_flight_loses_nothing(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    ids = await submit_many(commands, 300)
    async with proxy_of(queues, cut_at=ids[150].hex.encode()) as proxy:
        async with relaying(event_store, through(proxy, settings)):
            work: set[str] = set()
            while len(work) < 300:
                [message] = await queues.take(queues.names.processing, 1)
                work.add(content(message)["application_id"])
        assert proxy.cuts >= 1


# -- several relays ---------------------------------------------------------------------------------------------------


async def test_one_relay_publishes_and_another_takes_over(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    first = asyncio.create_task(run_relay(event_store, settings, Beats(), asyncio.Event()))
    await submit_many(commands, 5)
    await queues.take(queues.names.processing, 5)
    async with relaying(event_store, settings):
        await submit_many(commands, 5)
        await queues.take(queues.names.processing, 5)
        first.cancel()  # without a word, as a kill
        await asyncio.gather(first, return_exceptions=True)
        ids = await submit_many(commands, 5)
        work = {content(message)["application_id"] for message in await queues.take(queues.names.processing, 5)}
        while not work >= {id.hex for id in ids}:  # the first one's last messages may come twice
            [message] = await queues.take(queues.names.processing, 1)
            work.add(content(message)["application_id"])


async def test_a_relay_that_lost_its_lease_stops_publishing(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    other = Claim(LEASE, "another", 60)
    async with relaying(event_store, settings):
        await submit(commands)
        await queues.take(queues.names.processing, 1)
        await event_store.database.transaction(
            lambda session: session.execute("UPDATE leases SET holder = ? WHERE name = ?", (other.holder, LEASE))
        )
        await event_store.claims.take(other)
        await asyncio.sleep(settings.claim_seconds + 0.3)
        await submit(commands)
        await asyncio.sleep(0.5)
        assert await queues.depth(queues.names.processing) == 0
        await event_store.claims.release(other)
        await queues.take(queues.names.processing, 1)


async def test_everything_from_a_position_on_can_be_published_again(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    async with relaying(event_store, settings):
        await submit_many(commands, 10)
        first = await queues.take(queues.names.processing, 10)
    await queues.remove()
    async with relaying(event_store, settings, from_position=4):
        again = await queues.take(queues.names.processing, 7)
        await queues.take(queues.names.notifications, 7)
    assert [message.message_id for message in again] == [message.message_id for message in first[3:]]
    assert await queues.depth(queues.names.processing) == 0


async def test_an_event_of_a_newer_release_halts_the_relay_and_frees_its_lease(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues
) -> None:
    id = await submit(commands)
    await append_from_the_future(event_store, id, 2)
    with pytest.raises(NewerEvent):
        await asyncio.wait_for(run_relay(event_store, settings, Beats(), asyncio.Event()), 10)
    assert not await event_store.claims.held([LEASE])


# -- the hash chain ---------------------------------------------------------------------------------------------------


async def test_a_relay_seals_the_log_and_goes_on_when_it_cannot(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues, audit: Path
) -> None:
    await asyncio.to_thread(audit.write_text, "no folder")
    async with relaying(event_store, settings):
        await submit_many(commands, 5)
        await queues.take(queues.names.processing, 5)
        await asyncio.to_thread(audit.unlink)
        async with asyncio.timeout(10):
            while (last := await asyncio.to_thread(CheckpointFolder(audit).last)) is None or last.position < 5:
                await asyncio.sleep(0.05)
