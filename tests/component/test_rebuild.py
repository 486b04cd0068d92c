"""Rebuild: the next build is made beside the live one, checked, and read in its place from one commit on."""

import asyncio
from collections.abc import Sequence

import pytest

from domain.event import RecordedEvent
from infra.mongo import Mongo
from projections import status
from projections.beside import BesideView, Builder, BuildInUse
from projections.live import VERSIONS
from projections.mongo_view import MongoView
from projections.queries import EntryList, Filters, Queries
from projections.read_models import READ_MODELS
from projections.rebuild import NothingKept, NotTheLog, Switched, rebuild, roll_back
from projections.registry import CHECKPOINT, NotCaughtUp, NotLive, Registered, Registry
from projections.view import Advance, BuildName, Fenced
from tests.builders import an_application, some_applications
from tests.component.test_verify import Stages, workplace
from tests.fakes.event_log import FakeEventLog
from tests.heart import Beats
from tests.projecting import (
    NAMES,
    STORIES,
    append,
    catch_up,
    collection,
    documents,
    first_build,
    folded,
    project,
    projecting,
    the,
    until,
)


def build(number: int, model: str = "status") -> BuildName:
    return BuildName(model, VERSIONS[model], number)


async def rebuilt(
    mongo: Mongo, log: FakeEventLog, *, keep: bool = False, grace: float = 600.0, release: str = "1"
) -> Switched:
    """The read model `status`."""
    [switched] = await rebuild(workplace(mongo, log), [status], release, keep=keep, grace=grace)
    return switched


async def registered(mongo: Mongo, model: str = "status") -> Registered:
    return (await Registry(mongo, VERSIONS).all())[model]


async def content(mongo: Mongo, name: BuildName) -> dict[str, object]:
    found = await mongo.database[str(name)].find({"_id": {"$ne": CHECKPOINT}}).to_list(None)
    return {one["_id"]: one for one in found}


# -- the whole of it --------------------------------------------------------------------------------------------------


async def test_every_read_model_is_rebuilt_equal_and_switched(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES)
    at = workplace(mongo, log)
    switched = await rebuild(at, READ_MODELS, "1", keep=False)
    head, recorded = await log.head(), await log.read(0, 1000)
    assert [one.build for one in switched] == [build(2, name) for name in NAMES]
    for one, model in zip(switched, READ_MODELS, strict=True):
        assert (one.position, one.former) == (head, first_build(model.NAME))
        assert one.comparison is not None
        assert one.comparison.equal
        assert await content(mongo, one.build) == folded(model, recorded)
        indexes = await mongo.database[str(one.build)].index_information()
        assert indexes.keys() >= {index.document["name"] for index in model.INDEXES}
        now = await registered(mongo, model.NAME)
        assert (now.live, set(now.numbers), now.next) == (2, {1, 2}, None)
        [old] = now.retired
        assert old.number == 1
        assert old.until is not None
        assert 590 < (old.until - now.now).total_seconds() <= 600
    assert isinstance(at.tell, Stages)
    assert ("Folding the log", 0, head) in at.tell.told


async def test_both_builds_are_kept_current_after_the_switch(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES)
    await rebuilt(mongo, log)
    await append(log, *some_applications(3, "eve"))
    async with projecting(mongo, log, "next") as projector:
        await catch_up(projector)
    expected = folded(status, await log.read(0, 1000))
    assert await content(mongo, build(1)) == await content(mongo, build(2)) == expected


async def test_one_that_no_projector_has_made_yet_is_made(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, *STORIES)
    assert await rebuilt(mongo, log) == Switched(build(2), await log.head(), None)
    async with projecting(mongo, log) as projector:
        await catch_up(projector)
    assert (await registered(mongo)).live == 2


async def test_a_live_build_that_is_wrong_is_replaced_by_what_the_log_says(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES)
    await collection(mongo, "status").delete_one({"_id": the(1).hex})
    switched = await rebuilt(mongo, log)
    assert switched.comparison is not None
    assert switched.comparison.count == 1
    assert await content(mongo, build(2)) == folded(status, await log.read(0, 1000))


async def test_what_differs_from_the_log_is_not_switched_to(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES)
    await begun(mongo, log, upto=await log.head())
    await mongo.database[str(build(2))].delete_one({"_id": the(1).hex})
    with pytest.raises(NotTheLog, match=r"status\.\d\.2 differed from a second fold of the log in 1 documents"):
        await rebuilt(mongo, log)
    assert ((await registered(mongo)).live, (await registered(mongo)).next) == (1, None)
    await rebuilt(mongo, log)


# -- interrupted ------------------------------------------------------------------------------------------------------


async def begun(mongo: Mongo, log: FakeEventLog, *, upto: int, release: str = "1") -> None:
    """A rebuild of `status` that came so far."""
    at = workplace(mongo, log)
    name = await Registry(mongo, VERSIONS).begin("status", release)
    async with BesideView(mongo, [status], at.holder, at.lease_seconds, [name]) as view:
        builder = Builder(log, view, [status], at.lease_seconds)
        await builder.reach(upto)
        await builder.leave()


class Watched(FakeEventLog):
    """Knows from where it was read first."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[int] = []

    async def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        self.reads.append(after)
        return await super().read(after, limit)


async def test_interrupted_it_goes_on_where_it_was(mongo: Mongo) -> None:
    log = Watched()
    await project(mongo, log, *STORIES)
    await begun(mongo, log, upto=7)
    log.reads.clear()
    assert (await rebuilt(mongo, log)).build == build(2)
    assert log.reads[0] == 7


async def test_what_another_release_began_is_begun_anew(mongo: Mongo) -> None:
    log = Watched()
    await project(mongo, log, *STORIES)
    await begun(mongo, log, upto=7)
    log.reads.clear()
    assert (await rebuilt(mongo, log, release="2")).build == build(3)
    assert log.reads[0] == 0
    assert str(build(2)) not in await mongo.database.list_collection_names()


async def test_two_at_a_time_are_refused(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES)
    name = await Registry(mongo, VERSIONS).begin("status", "1")
    async with BesideView(mongo, [status], "another", 600.0, [name]) as view:
        assert await view.take(name)
        at = workplace(mongo, log, lease_seconds=0.1)
        with pytest.raises(BuildInUse, match=str(name)):
            await rebuild(at, [status], "1", keep=False)


async def test_no_projector_takes_a_build_that_is_being_made(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES)
    await begun(mongo, log, upto=7)
    async with projecting(mongo, log, "another") as projector:
        await catch_up(projector)
        assert build(2) not in {one.lease.build for one in projector.active}


# -- the switch -------------------------------------------------------------------------------------------------------


async def ready_to_switch(view: BesideView, log: FakeEventLog) -> Advance:
    """An empty advance of the next build of `status`, which has caught up."""
    [active] = await Builder(log, view, [status], 5.0).reach(await log.head())
    return Advance(active.lease, active.lease.position)


async def test_a_build_that_is_behind_is_not_switched_to(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES)
    registry = Registry(mongo, VERSIONS)
    async with BesideView(mongo, [status], "one", 5.0, [await registry.begin("status", "1")]) as view:
        lease = (await ready_to_switch(view, log)).lease
        await project(mongo, log, an_application(the(77)).submitted(), holder="two")
        with pytest.raises(NotCaughtUp):
            await registry.switch(lease, 1, "one", keep=False, grace=600)
        lease = (await ready_to_switch(view, log)).lease
        await registry.switch(lease, 1, "one", keep=False, grace=600)
    assert (await registered(mongo)).live == 2


async def test_who_was_replaced_or_thinks_of_another_live_build_switches_nothing(
    mongo: Mongo, log: FakeEventLog
) -> None:
    await project(mongo, log, *STORIES)
    registry = Registry(mongo, VERSIONS)
    async with BesideView(mongo, [status], "one", 0.0, [await registry.begin("status", "1")]) as view:
        lease = (await ready_to_switch(view, log)).lease
        with pytest.raises(NotLive):
            await registry.switch(lease, None, "one", keep=False, grace=600)
        with pytest.raises(Fenced):
            await registry.switch(lease, 1, "two", keep=False, grace=600)
        assert await view.take(lease.build)  # a new token
        with pytest.raises(Fenced):
            await registry.switch(lease, 1, "one", keep=False, grace=600)
    now = await registered(mongo)
    assert (now.live, now.numbers, now.retired) == (1, [1], [])


async def test_a_commit_of_the_live_build_at_that_moment_conflicts(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES)
    registry = Registry(mongo, VERSIONS)
    async with (
        BesideView(mongo, [status], "one", 5.0, [await registry.begin("status", "1")]) as view,
        MongoView(mongo, [status], "live", 5.0) as lives,
    ):
        lease = (await ready_to_switch(view, log)).lease
        live = await lives.take(build(1))
        assert live is not None
        async with lives._session.start_transaction():
            await lives._advance_checkpoint(Advance(live, live.position + 1))
            with pytest.raises(Exception, match="cannot be reached"):
                await registry.switch(lease, 1, "one", keep=False, grace=600)
            await lives._session.abort_transaction()
        await registry.switch(lease, 1, "one", keep=False, grace=600)
        with pytest.raises(Fenced):
            await lives.commit([Advance(live, live.position + 1)])


async def test_no_read_after_the_switch_shows_the_former_build(mongo: Mongo, log: FakeEventLog) -> None:
    """Although its name was looked up a moment before."""
    await project(mongo, log, *STORIES)
    queries = Queries(mongo, 5.0)
    key = the(1).hex
    assert (await queries.status(key)).value is not None
    await rebuilt(mongo, log)
    await mongo.database[str(build(2))].update_one({"_id": key}, {"$set": {"error_reason": "of the new one"}})
    found = (await queries.status(key)).value
    assert found is not None
    assert found["error_reason"] == "of the new one"


async def test_an_export_that_has_begun_reads_the_former_build_to_its_end(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES)
    queries = Queries(mongo, 5.0)
    export = (await queries.export("ada", Filters(), [EntryList.APPLIED])).value
    await rebuild(workplace(mongo, log), READ_MODELS, "1", keep=False)
    assert export.builds == [build(1, "applied")]
    assert [row["app_id"] for page in [page async for page in export.pages()] for row in page]
    assert (await queries.export("ada", Filters(), [EntryList.APPLIED])).value.builds == [build(2, "applied")]


# -- the former build -------------------------------------------------------------------------------------------------


async def test_the_former_build_is_dropped_after_its_grace(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES)
    await rebuilt(mongo, log, grace=0.2)
    async with projecting(mongo, log, lease_seconds=0.1) as projector:

        async def dropped() -> bool:
            await projector.turn()
            return str(build(1)) not in await mongo.database.list_collection_names()

        await until(dropped)
        assert (await registered(mongo)).numbers == [2]
        await append(log, *some_applications(2, "eve"))
        await catch_up(projector)
        assert {one.lease.build for one in projector.active if one.lease.build.model == "status"} == {build(2)}
    assert await content(mongo, build(2)) == folded(status, await log.read(0, 1000))
    assert str(build(1)) not in await mongo.database.list_collection_names()


@pytest.mark.parametrize("projected", [True, False], ids=["kept current", "caught up first"])
async def test_back_to_the_build_that_was_kept(mongo: Mongo, log: FakeEventLog, projected: bool) -> None:
    await project(mongo, log, *STORIES)
    await rebuilt(mongo, log, keep=True, grace=0.0)
    assert (await registered(mongo)).kept == 1
    await append(log, an_application(the(77)).submitted())
    stop = asyncio.Event()
    async with projecting(mongo, log, "next") as projector:
        running = asyncio.create_task(projector.run(Beats(), stop) if projected else asyncio.sleep(0))
        if projected:
            await until(lambda: stands_at(mongo, build(1), len(log._events)))
        back = await roll_back(workplace(mongo, log), status)
        assert (back.build, back.former, back.position) == (build(1), build(2), await log.head())
        await append(log, an_application(the(78)).submitted())
        stop.set()
        await running
    async with projecting(mongo, log, "last") as projector:
        await catch_up(projector)
    now = await registered(mongo)
    assert (now.live, [one.number for one in now.retired]) == (1, [2])
    assert await content(mongo, build(1)) == folded(status, await log.read(0, 1000))
    assert (await Queries(mongo, 5.0).status(the(78).hex, await log.head())).value is not None


async def stands_at(mongo: Mongo, name: BuildName, position: int) -> bool:
    found = await mongo.database[str(name)].find_one({"_id": CHECKPOINT})
    return found is not None and found["position"] == position


async def test_there_may_be_nothing_to_go_back_to(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES)
    await rebuilt(mongo, log)
    with pytest.raises(NothingKept, match="--keep-old"):
        await roll_back(workplace(mongo, log), status)


async def test_one_that_was_kept_ends_with_the_next_switch(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES)
    await rebuilt(mongo, log, keep=True)
    await rebuilt(mongo, log, keep=True)
    now = await registered(mongo)
    assert (now.live, now.kept) == (3, 2)
    assert {one.number: one.until is None for one in now.retired} == {1: False, 2: True}


async def test_a_former_build_never_becomes_live_by_itself(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *STORIES)
    await rebuilt(mongo, log)
    await mongo.database[str(build(2))].drop()
    async with projecting(mongo, log, batch_max=2) as projector:
        await projector.turn()
        assert (await registered(mongo)).live is None
        await catch_up(projector)
        assert (await registered(mongo)).live == 2
    assert await documents(mongo, "status") == await content(mongo, build(2))
