"""The lists of applications and batches, and where the read models stand, as the database answers them."""

from typing import Any
from uuid import UUID

import orjson
import pytest

from domain.application_events import Status
from infra.mongo import Mongo
from projections import status, totals
from projections.overviews import AllBatches, ApplicationFilters
from projections.pages import PageQuery, Selection
from projections.queries import Page, Queries, State
from tests.builders import a_batch, a_job
from tests.fakes.event_log import FakeEventLog
from tests.projecting import (
    a_failed,
    an_applied,
    append,
    collection,
    first_build,
    project,
    projecting,
    with_picky,
)

ALL = ApplicationFilters()
FAILED = ApplicationFilters(status=Status.FAILED)
BAKERS = ApplicationFilters(title="baker")
FAILED_BAKERS = ApplicationFilters(status=Status.FAILED, title="baker")


@pytest.fixture
def queries(mongo: Mongo) -> Queries:
    return Queries(mongo, read_wait_seconds=0.3)


async def listed(queries: Queries, filters: ApplicationFilters = ALL, user: str = "ada") -> Page:
    return await queries.applications(user, filters, 3, None)


# -- what a page costs ------------------------------------------------------------------------------------------------


async def explained(mongo: Mongo, model: str, filters: Selection, stages: int) -> str:
    """How the database reads a page of 3 in the middle of the list: the first stages, which find its documents."""
    found = await collection(mongo, model).find({"user_id": "ada"}).sort("order", -1).to_list(20)
    query = PageQuery(first_build(model), first_build("totals"), "ada", filters, 3, found[-1]["order"])
    pipeline: list[Any] = query.pipeline[:stages]
    command = {"aggregate": collection(mongo, model).name, "pipeline": pipeline, "cursor": {}, "hint": query.index}
    plan = await mongo.database.command({"explain": command, "verbosity": "executionStats"})
    return orjson.dumps(plan, default=str).decode()


@pytest.mark.parametrize(
    ("filters", "index", "stages"), [(ALL, "user", 3), (FAILED, "user_status", 3), (BAKERS, "jobs", 4)]
)
async def test_a_page_of_applications_is_read_by_its_index(
    mongo: Mongo, log: FakeEventLog, filters: ApplicationFilters, index: str, stages: int
) -> None:
    await project(mongo, log, *((a_failed if n % 2 else an_applied)(n) for n in range(60)))
    plan = await explained(mongo, "status", filters, stages)
    assert f'"indexName":"{index}"' in plan
    assert '"stage":"SORT"' not in plan
    assert '"totalDocsExamined":4' in plan


async def test_a_page_of_batches_is_read_by_its_index(mongo: Mongo, log: FakeEventLog) -> None:
    await append(log, *(a_batch(id=UUID(int=1000 + number)) for number in range(40)))
    await project(mongo, log)
    plan = await explained(mongo, "batches", AllBatches(), 4)
    assert '"indexName":"user"' in plan
    assert '"stage":"SORT"' not in plan
    assert '"totalDocsExamined":4' in plan


@pytest.mark.parametrize(("filters", "total"), [(ALL, 5), (FAILED, 2), (BAKERS, 4), (FAILED_BAKERS, 2)])
async def test_the_count_is_the_same_by_totals_and_by_scanning(
    mongo: Mongo, log: FakeEventLog, queries: Queries, filters: ApplicationFilters, total: int
) -> None:
    await project(mongo, log, a_failed(1), an_applied(2), a_failed(3), an_applied(4, a_job("Cook")), an_applied(5))
    await project(mongo, log, a_failed(6, user="bob"))
    assert (await listed(queries, filters)).total == total
    await collection(mongo, totals.NAME).update_one({"_id": "checkpoint"}, {"$set": {"position": 1}})
    await collection(mongo, totals.NAME).delete_many({"_id": {"$ne": "checkpoint"}})
    assert (await listed(queries, filters)).total == total


# -- parked, and not there --------------------------------------------------------------------------------------------


async def test_a_parked_application_is_listed_as_it_was_before(
    mongo: Mongo, log: FakeEventLog, queries: Queries
) -> None:
    parked, other = an_applied(1), an_applied(2)
    await project(mongo, log, parked, other, models=with_picky(status, parked.id, "application.succeeded"))
    page = await listed(queries)
    assert [entry["status"] for entry in page.entries] == ["success", "processing"]
    assert (page.total, page.position) == (2, len(parked.events) - 1)
    for filters, total in ((FAILED, 0), (ApplicationFilters(Status.PROCESSING), 1), (BAKERS, 2)):
        assert (await listed(queries, filters)).total == total, "totals count what this list does not show"


async def test_of_a_parked_submission_nothing_is_listed(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    parked, other = an_applied(1), an_applied(2)
    await project(mongo, log, parked, other, models=with_picky(status, parked.id, "application.submitted"))
    for filters in (ALL, BAKERS):
        page = await listed(queries, filters)
        assert ([entry["application_id"] for entry in page.entries], page.total) == ([other.id.hex], 1)


# -- where the read models stand --------------------------------------------------------------------------------------


async def states(queries: Queries) -> dict[str, State]:
    return {one.name: one.state for one in await queries.standings()}


async def test_states_of_read_models(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    assert set((await states(queries)).values()) == {State.WAITING}, "nobody has begun"
    parked = an_applied(1)
    await append(log, parked, an_applied(2))
    models = with_picky(totals, parked.id, "application.job_applied")
    async with projecting(mongo, log, batch_max=2, models=models) as projector:
        await projector.turn()
        assert set((await states(queries)).values()) == {State.BUILDING}
        while await projector.turn():
            pass
        found = await states(queries)
        assert found.pop("totals") is State.STOPPED
        assert set(found.values()) == {State.RUNNING}
        await projector.leave()
        assert (await states(queries))["totals"] is State.STOPPED
        assert (await states(queries))["status"] is State.WAITING
    [standing] = [one for one in await queries.standings() if one.name == "totals"]
    assert (standing.version, standing.position, standing.parked) == (totals.VERSION, 4, 0)


async def test_parked_streams_are_counted(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    parked = an_applied(1)
    await project(mongo, log, parked, models=with_picky(status, parked.id, "application.succeeded"))
    counts = {one.name: one.parked for one in await queries.standings()}
    assert counts == dict.fromkeys(counts, 0) | {"status": 1}
