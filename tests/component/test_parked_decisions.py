"""Operators' decisions on parked streams: a build acts on them in their place, and so does every rebuild."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from domain.event import Cause
from domain.parked_decisions import Decision, DecisionCommands, EventSkipped, StreamRetried
from infra.mongo import Mongo
from projections import status, updates
from projections.read_model import Document, ReadModel
from projections.registry import CHECKPOINT
from tests.builders import a_job, an_application
from tests.component.test_rebuild import rebuilt
from tests.component.test_verify import checked
from tests.fakes.clock import FakeClock
from tests.fakes.event_log import FakeEventLog
from tests.projecting import (
    STORIES,
    Picky,
    append,
    catch_up,
    checkpoint,
    collection,
    documents,
    folded,
    projecting,
    the,
    with_picky,
)

LIFE = an_application(the(1)).submitted().started().attempted(1).refused().failed()
POISON = "application.processing_started"  # the second event of a life
OPERATOR = Cause("operator:grace")


async def decide(log: FakeEventLog, *decisions: Decision) -> int:
    """The position of the last of them."""
    recorded = await DecisionCommands(log, FakeClock()).record(
        decisions[0].read_model, lambda _: list(decisions), OPERATOR
    )
    assert len(recorded) == len(decisions)
    return await log.head()


def retried(position: int, model: ReadModel = status, stream: UUID = LIFE.id) -> StreamRetried:
    return StreamRetried(read_model=model.NAME, stream=stream.hex, position=position)


def skipped(position: int, model: ReadModel = status, stream: UUID = LIFE.id) -> EventSkipped:
    return EventSkipped(read_model=model.NAME, stream=stream.hex, position=position, reason="never meant")


async def run(mongo: Mongo, log: FakeEventLog, models: Sequence[ReadModel], **options: Any) -> None:
    async with projecting(mongo, log, models=models, **options) as projector:
        await catch_up(projector)
        await projector.leave()


async def parked(mongo: Mongo, model: ReadModel = status) -> list[tuple[str, int, int]]:
    """Stream, position and how many wait."""
    found = [one for id, one in (await documents(mongo, model.NAME)).items() if id.startswith("parked:")]
    told = await checkpoint(mongo, model.NAME)
    assert told is not None
    assert told["parked"] == len(found)
    return [(one["stream"], one["position"], one["waiting"]) for one in found]


def picky(models: Sequence[ReadModel], model: ReadModel = status) -> Picky:
    """The one of them that cannot take an event."""
    [found] = [one for one in models if one.NAME == model.NAME]
    assert isinstance(found, Picky)
    return found


async def equals_a_rebuild(mongo: Mongo, log: FakeEventLog, model: ReadModel = status) -> None:
    found = (await checked(mongo, log, [model.NAME]))[model.NAME]
    assert found.equal, found


# -- retried ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_max", [1, 2, 1000])
async def test_a_stream_that_is_retried_goes_on_where_it_waited(
    mongo: Mongo, log: FakeEventLog, batch_max: int
) -> None:
    await append(log, LIFE, *STORIES[1:])
    models = with_picky(status, LIFE.id, POISON)
    await run(mongo, log, models, batch_max=batch_max)
    assert await parked(mongo) == [(LIFE.id.hex, 2, len(LIFE.events) - 2)]
    await decide(log, retried(2))
    await log_more(log)
    picky(models).cured = True
    await run(mongo, log, models, batch_max=batch_max)
    assert await parked(mongo) == []
    assert await documents(mongo, "status") == folded(status, await log.read(0, 1000))
    await equals_a_rebuild(mongo, log)


async def log_more(log: FakeEventLog) -> None:
    """The freed stream goes on, and another begins."""
    await append(log, an_application(the(60)).submitted())


async def test_one_that_still_cannot_be_taken_stays_parked(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, LIFE)
    models = with_picky(status, LIFE.id, POISON)
    await run(mongo, log, models)
    before = await parked(mongo)
    for _ in range(2):
        await decide(log, retried(2))
        await run(mongo, log, models)
        assert await parked(mongo) == before
    picky(models).cured = True
    await run(mongo, log, models)
    assert await parked(mongo) == before, "nobody has decided since"
    await decide(log, retried(2))
    await run(mongo, log, models)
    assert await parked(mongo) == []
    await equals_a_rebuild(mongo, log)


async def test_a_later_event_of_it_may_be_poison_too(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, LIFE)
    models = with_picky(status, LIFE.id, POISON, "application.failed")
    await run(mongo, log, models)
    first = await decide(log, retried(2))
    picky(models).poison = frozenset({"application.failed"})
    await run(mongo, log, models)
    assert await parked(mongo) == [(LIFE.id.hex, len(LIFE.events), 0)]
    assert (await documents(mongo, "status"))[LIFE.id.hex]["status"] == "processing"
    await decide(log, skipped(len(LIFE.events)))
    await run(mongo, log, models)
    assert await parked(mongo) == []
    assert first == len(LIFE.events) + 1
    await equals_a_rebuild(mongo, log)


# -- skipped ----------------------------------------------------------------------------------------------------------


async def test_an_event_that_is_skipped_is_left_out_and_the_rest_goes_on(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, LIFE)
    models = with_picky(status, LIFE.id, "application.job_failed")
    await run(mongo, log, models)
    [(_, position, _)] = await parked(mongo)
    await decide(log, skipped(position))
    await run(mongo, log, models)
    assert await parked(mongo) == []
    left = [one for one in await log.read(0, 1000) if one.position != position]
    assert await documents(mongo, "status") == folded(status, left)
    await equals_a_rebuild(mongo, log)
    assert (await rebuilt(mongo, log)).comparison is not None


async def test_a_decision_on_an_event_at_which_nothing_waits_changes_nothing(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, LIFE, *STORIES[1:])
    models = with_picky(status, LIFE.id, POISON)
    await run(mongo, log, models)
    before = await documents(mongo, "status")
    await decide(log, skipped(3))
    await decide(log, skipped(1, stream=the(2)))
    await decide(log, retried(2, updates))
    await run(mongo, log, models)
    assert await documents(mongo, "status") == before


# -- what the streams tell --------------------------------------------------------------------------------------------


async def test_freed_updates_carry_the_position_of_the_decision(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, LIFE)
    models = with_picky(updates, LIFE.id, POISON)
    await run(mongo, log, models)
    await append(log, an_application(the(60)).submitted())
    position = await decide(log, retried(2, updates))
    picky(models, updates).cured = True
    await run(mongo, log, models)
    told = {id: one["status"] for id, one in (await documents(mongo, "updates")).items() if "status" in one}
    assert told == {
        updates.update_id(1, 0): "pending",
        updates.update_id(len(LIFE.events) + 1, 0): "pending",
        updates.update_id(position, 0): "processing",
        updates.update_id(position, 2 * (len(LIFE.events) - 2)): "failed",
    }
    await equals_a_rebuild(mongo, log, updates)


# -- what the database refuses ----------------------------------------------------------------------------------------


async def test_a_freed_event_that_mongodb_refuses_parks_its_stream_there(mongo: Mongo, log: FakeEventLog) -> None:
    """And not the stream of the decisions."""
    await append(log, LIFE)
    models = with_picky(status, LIFE.id, POISON)
    await run(mongo, log, models)
    picky(models).cured = True
    await mongo.database.command(
        {"collMod": collection(mongo, "status").name, "validator": {"status": {"$ne": "failed"}}}
    )
    await decide(log, retried(2))
    await run(mongo, log, models)
    assert await parked(mongo) == [(LIFE.id.hex, len(LIFE.events), 0)]
    assert (await documents(mongo, "status"))[LIFE.id.hex]["status"] == "processing"


# -- rebuilds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_max", [1, 3, 1000])
async def test_a_build_from_position_0_acts_as_the_live_one_did(
    mongo: Mongo, log: FakeEventLog, batch_max: int
) -> None:
    """Although this release would take every event: what was skipped is skipped, and what waited is folded later."""
    await append(log, LIFE, an_application(the(2), "bob").submitted([a_job()]).started().exhausted())
    models = [*with_picky(status, LIFE.id, POISON)[:1], *with_picky(updates, LIFE.id, POISON)[1:]]
    await run(mongo, log, models)
    picky(models).cured = picky(models, updates).cured = True
    await decide(log, skipped(2))
    await append(log, an_application(the(60)).submitted())
    await decide(log, retried(2, updates))
    await append(log, an_application(the(61)).submitted())
    await run(mongo, log, models)
    assert await parked(mongo) == await parked(mongo, updates) == []
    before = {model.NAME: await whole(mongo, model) for model in (status, updates)}
    for model in (status, updates):
        await collection(mongo, model.NAME).drop()
    for _ in range(30):  # each but the last is interrupted after its first batch
        async with projecting(mongo, log, batch_max=batch_max) as projector:
            await projector.turn()
            await projector.leave()
    assert {model.NAME: await whole(mongo, model) for model in (status, updates)} == before


async def whole(mongo: Mongo, model: ReadModel) -> list[Document]:
    found: list[Document] = await collection(mongo, model.NAME).find({"_id": {"$ne": CHECKPOINT}}).to_list(None)
    return sorted(found, key=lambda one: str(one["_id"]))
