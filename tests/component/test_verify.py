"""Verify: a fold of the log finds whatever the live read models hold otherwise."""

import asyncio
from collections.abc import Sequence

import pytest

from domain.errors import ReadModelBehind
from infra.mongo import Mongo
from projections import status, updates
from projections.beside import BesideView, BuildInUse
from projections.comparison import Comparison, Difference, Kind
from projections.live import VERSIONS
from projections.read_models import READ_MODELS
from projections.registry import CHECKPOINT, Registry
from projections.sampling import CannotBeSampled, verify_sample
from projections.verify import SCRATCH, Step, Workplace, verify
from projections.view import BuildName
from tests.builders import an_application
from tests.fakes.event_log import FakeEventLog
from tests.heart import Beats
from tests.projecting import (
    NAMES,
    STORIES,
    append,
    catch_up,
    collection,
    first_build,
    project,
    projecting,
    the,
    until,
    with_picky,
)


class Stages:
    """What was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []

    def stage(self, name: str, start: int, goal: int) -> Step:
        self.told.append((name, start, goal))
        return lambda _: None


def workplace(mongo: Mongo, log: FakeEventLog, holder: str = "check", lease_seconds: float = 1.0) -> Workplace:
    return Workplace(log, mongo, holder, lease_seconds, Stages())


async def checked(mongo: Mongo, log: FakeEventLog, models: Sequence[str] = NAMES) -> dict[str, Comparison]:
    named = [model for model in READ_MODELS if model.NAME in models]
    return {one.live.model: one for one in await verify(workplace(mongo, log), named)}


async def scratches(mongo: Mongo) -> list[str]:
    return [name for name in await mongo.database.list_collection_names() if name.endswith(f".{SCRATCH}")]


async def test_what_the_projector_made_equals_a_fold_of_the_log(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES, batch_max=3)
    found = await checked(mongo, log)
    assert list(found) == NAMES
    for name, one in found.items():
        assert one.equal, one
        assert (one.live, one.position) == (first_build(name), await log.head())
        assert one.documents == await collection(mongo, name).count_documents({"_id": {"$ne": CHECKPOINT}})
        assert one.checksum == one.expected_checksum
    assert await scratches(mongo) == []


async def test_every_difference_is_found_and_told(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES)
    await collection(mongo, "status").update_one({"_id": the(1).hex}, {"$set": {"status": "lost", "job_count": 9}})
    await collection(mongo, "status").delete_one({"_id": the(2).hex})
    await collection(mongo, "status").insert_one({"_id": "from nowhere"})
    found = await checked(mongo, log)
    assert sorted(found["status"].listed, key=lambda one: one.kind) == [
        Difference(the(1).hex, Kind.DIFFERENT, ("status", "job_count")),
        Difference(the(2).hex, Kind.MISSING),
        Difference("from nowhere", Kind.UNEXPECTED),
    ]
    assert (found["status"].count, found["status"].equal) == (3, False)
    assert all(one.equal for name, one in found.items() if name != "status")


async def test_another_order_of_fields_is_a_difference_too(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES)
    await collection(mongo, "updates").update_one({"type": "status_update"}, {"$rename": {"type": "kind"}})
    await collection(mongo, "updates").update_one({"kind": "status_update"}, {"$rename": {"kind": "type"}})
    [told] = (await checked(mongo, log, ["updates"]))["updates"].listed
    assert (told.kind, told.fields) == (Kind.DIFFERENT, ("the order of its fields",))


async def test_the_service_goes_on_meanwhile(mongo: Mongo, log: FakeEventLog) -> None:
    heart, stop = Beats(), asyncio.Event()
    async with projecting(mongo, log) as projector:
        running = asyncio.create_task(projector.run(heart, stop))

        async def grow() -> None:
            for number in range(60):
                await append(log, an_application(the(100 + number)).submitted().started())
                await asyncio.sleep(0.01)

        growing = asyncio.create_task(grow())
        await until(lambda: all_are_live(mongo))
        while not growing.done():
            assert all(one.equal for one in (await checked(mongo, log)).values())
        await growing
        stop.set()
        await running


async def all_are_live(mongo: Mongo) -> bool:
    return [one.live for one in (await Registry(mongo, VERSIONS).all()).values()] == [1] * len(NAMES)


async def test_a_stream_that_only_the_live_build_has_parked_is_a_difference(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES, models=with_picky(status, the(2), "application.job_failed"))
    found = (await checked(mongo, log, ["status"]))["status"]
    assert {(one.id, one.kind) for one in found.listed} == {
        (f"parked:{the(2).hex}", Kind.UNEXPECTED),
        (the(2).hex, Kind.DIFFERENT),
    }


async def test_one_check_at_a_time(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES)
    scratch = BuildName(updates.NAME, updates.VERSION, SCRATCH)
    async with BesideView(mongo, [updates], "another", 600.0, [scratch]) as view:
        assert await view.take(scratch)
        with pytest.raises(BuildInUse, match=str(scratch)):
            await verify(workplace(mongo, log, lease_seconds=0.1), [updates])
    assert await scratches(mongo) == [str(scratch)], "it is the other's"


async def test_what_an_interrupted_check_left_is_dropped(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES)
    await mongo.database[f"status.{status.VERSION}.{SCRATCH}"].insert_one({"_id": "left over"})
    assert (await checked(mongo, log))["status"].equal
    assert await scratches(mongo) == []


async def test_a_model_without_a_live_build_cannot_be_checked(mongo: Mongo, log: FakeEventLog) -> None:
    with pytest.raises(ReadModelBehind, match="status has no live build"):
        await checked(mongo, log, ["status"])
    await append(log, *STORIES)
    async with projecting(mongo, log) as projector:
        await catch_up(projector)
    assert (await checked(mongo, log, ["status"]))["status"].equal


# -- samples ----------------------------------------------------------------------------------------------------------

SAMPLED = [model for model in READ_MODELS if model.NAME != "totals"]


async def sampled(mongo: Mongo, log: FakeEventLog) -> dict[str, Comparison]:
    """The streams of every event."""
    found = await verify_sample(workplace(mongo, log), SAMPLED, lambda head: range(1, head + 1))
    return {one.live.model: one for one in found}


async def test_a_sample_looks_at_the_streams_of_some_events(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES)
    assert all(one.equal and one.documents for one in (await sampled(mongo, log)).values())
    await collection(mongo, "status").update_one({"_id": the(1).hex}, {"$set": {"status": "lost"}})
    await collection(mongo, "failed").delete_one({"_id": the(2).hex})
    found = await sampled(mongo, log)
    assert set(found["status"].listed) == {Difference(the(1).hex, Kind.DIFFERENT, ("status",))}
    assert set(found["failed"].listed) == {Difference(the(2).hex, Kind.MISSING)}
    [once] = await verify_sample(workplace(mongo, log), [status], lambda _: [1])
    assert (once.documents, once.count) == (2, 1)


async def test_what_counts_over_all_streams_cannot_be_sampled(mongo: Mongo, log: FakeEventLog) -> None:
    with pytest.raises(CannotBeSampled, match="totals"):
        await verify_sample(workplace(mongo, log), READ_MODELS, lambda _: [])


async def test_a_sample_leaves_out_what_waits(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES, models=with_picky(status, the(2), "application.job_failed"))
    assert (await sampled(mongo, log))["status"].equal
