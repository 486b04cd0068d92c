"""Sealing behind a relay's back: what is appended is sealed, whoever seals, and whatever keeps it from that."""

import asyncio
import logging
from pathlib import Path

import pytest

from consumers import sealer
from consumers.sealer import Sealer
from domain.commands import ApplicationCommands
from infra import metrics
from infra.checkpoints import CheckpointFolder
from infra.clock import SystemClock
from infra.event_log import EventStore
from infra.seals import START, Checkpoint, Digest
from infra.settings import Settings
from tests.component.consumers.at_work import submit, submit_many
from tests.evidence import KEY


@pytest.fixture
def settings() -> Settings:
    return Settings()


def checkpoints(folder: Path) -> list[Checkpoint]:
    """All; each is held against the one before."""
    found = [Checkpoint.parse(line.content) for line in CheckpointFolder(folder).lines()]
    for number, one in enumerate(found, 1):
        assert (one.number, one.signed_by(KEY.public)) == (number, True)
        assert number == 1 or one.previous == found[number - 2].hash
    return found


async def until_sealed(folder: Path, position: int) -> list[Checkpoint]:
    async with asyncio.timeout(10):
        while not (found := await asyncio.to_thread(checkpoints, folder)) or found[-1].position < position:
            await asyncio.sleep(0.02)
    return found


async def digests(event_store: EventStore, found: list[Checkpoint]) -> list[str]:
    """What they should be, from the log."""
    made, before, position = [], START, 0
    for one in found:
        digest = Digest(before)
        digest.add(await event_store.stored.read(position, one.count))
        made.append(digest.hex)
        before, position = digest.hex, one.position
    return made


async def test_what_is_appended_is_sealed_within_a_second(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, audit: Path
) -> None:
    running = asyncio.create_task(Sealer(event_store, settings, SystemClock()).run())
    for _ in range(3):
        await submit(commands)
        await until_sealed(audit, await event_store.log.head())
    found = await until_sealed(audit, 3)
    assert [one.digest for one in found] == await digests(event_store, found)
    assert sum(one.count for one in found) == 3
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_long_log_is_sealed_in_parts(
    event_store: EventStore,
    commands: ApplicationCommands,
    settings: Settings,
    audit: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sealer, "EVENTS", 10)
    await submit_many(commands, 35)
    running = asyncio.create_task(Sealer(event_store, settings, SystemClock()).run())
    found = await until_sealed(audit, 35)
    assert [one.count for one in found] == [10, 10, 10, 5]
    assert [one.digest for one in found] == await digests(event_store, found)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_killed_at_any_moment_the_next_one_goes_on(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, audit: Path
) -> None:
    for seconds in (0.0, 0.005, 0.01, 0.02, 0.05):
        await submit_many(commands, 20)
        running = asyncio.create_task(Sealer(event_store, settings, SystemClock()).run())
        await asyncio.sleep(seconds)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    running = asyncio.create_task(Sealer(event_store, settings, SystemClock()).run())
    found = await until_sealed(audit, 100)
    assert sum(one.count for one in found) == 100
    assert [one.digest for one in found] == await digests(event_store, found)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_two_that_do_not_know_of_each_other_make_one_chain(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, audit: Path
) -> None:
    running = [asyncio.create_task(Sealer(event_store, settings, SystemClock()).run()) for _ in range(2)]
    for _ in range(4):
        await submit_many(commands, 5)
        await asyncio.sleep(0.3)
    found = await until_sealed(audit, 20)
    assert sum(one.count for one in found) == 20
    assert [one.digest for one in found] == await digests(event_store, found)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_a_folder_that_cannot_be_written_is_told_and_tried_again(
    event_store: EventStore,
    commands: ApplicationCommands,
    settings: Settings,
    audit: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    audit.write_text("no folder")
    await submit(commands)
    running = Sealer(event_store, settings, SystemClock())
    task = asyncio.create_task(running.run())
    async with asyncio.timeout(10):
        while metrics.AUDIT_UNSEALED_SECONDS.value() == 0:
            await asyncio.sleep(0.02)
    assert any(record.__dict__.get("event_type") == "audit_not_sealed" for record in caplog.records)
    audit.unlink()
    await until_sealed(audit, 1)
    async with asyncio.timeout(10):
        while metrics.AUDIT_UNSEALED_SECONDS.value() > 0:
            await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_log_that_is_shorter_than_what_was_sealed_is_told(
    event_store: EventStore,
    commands: ApplicationCommands,
    settings: Settings,
    audit: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await submit_many(commands, 3)
    task = asyncio.create_task(Sealer(event_store, settings, SystemClock()).run())
    await until_sealed(audit, 3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await event_store.database.transaction(lambda session: session.execute("DELETE FROM stored_events"))
    caplog.set_level(logging.ERROR)
    task = asyncio.create_task(Sealer(event_store, settings, SystemClock()).run())
    async with asyncio.timeout(10):
        while not any(record.__dict__.get("event_type") == "audit_log_cut_off" for record in caplog.records):
            await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
