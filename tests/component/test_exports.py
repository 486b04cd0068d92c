"""How many rows an export has: told at the price of the answer, not of the list (contract http.md 8.3)."""

from datetime import timedelta
from typing import Any

import pytest

from infra.mongo import Mongo
from projections.exports import Export
from projections.pages import index_of
from projections.queries import EntryList, Filters, Queries
from tests.builders import START, a_job
from tests.fakes.event_log import FakeEventLog
from tests.projecting import a_failed, an_applied, collection, project

BOTH = (EntryList.APPLIED, EntryList.FAILED)
XING = a_job(portal="Xing")


@pytest.fixture
async def queries(mongo: Mongo, log: FakeEventLog) -> Queries:
    """Of ada 20 applied, every other one at Xing and a minute after the one before, and 7 failed; of bob one."""
    applied = (an_applied(n, XING if n % 2 else a_job()) for n in range(20))
    failed = (a_failed(n, XING) for n in range(100, 107))
    await project(mongo, log, *applied, *failed, an_applied(50, user="bob"))
    return Queries(mongo, 0.3)


async def an_export(queries: Queries, filters: Filters, *kinds: EntryList) -> Export:
    return (await queries.export("ada", filters, kinds or BOTH)).value


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (Filters(), 27),
        (Filters(portal="XING"), 17),
        (Filters(portal="nowhere"), 0),
        (Filters(date_to=START + timedelta(minutes=4)), 5),
        (Filters(date_from=START + timedelta(minutes=10), portal="xing"), 12),
    ],
)
async def test_as_many_are_counted_as_there_are_rows(queries: Queries, filters: Filters, count: int) -> None:
    export = await an_export(queries, filters)
    assert await export.count(1_000) == count == sum([len(page) async for page in export.pages()])


@pytest.mark.parametrize(("most", "count"), [(27, 27), (26, 27), (20, 21), (19, 20), (5, 6)])
async def test_beyond_the_most_it_is_told_that_there_are_more(queries: Queries, most: int, count: int) -> None:
    assert await (await an_export(queries, Filters())).count(most) == count


async def test_the_lists_that_are_not_asked_for_do_not_count(queries: Queries) -> None:
    assert await (await an_export(queries, Filters(), EntryList.FAILED)).count(100) == 7
    assert await Export(queries._mongo, [], "ada", Filters()).count(100) == 0


@pytest.mark.parametrize(
    "filters",
    [Filters(), Filters(portal="Xing"), Filters(portal="Xing", date_from=START, date_to=START + timedelta(1))],
)
async def test_counting_reads_no_entry_and_no_more_keys_than_it_must(
    mongo: Mongo, queries: Queries, filters: Filters
) -> None:
    export, most = await an_export(queries, filters), 6
    command = {"aggregate": collection(mongo, "applied").name, "cursor": {}, "hint": index_of(filters)}
    explained = await mongo.database.command(
        "explain", {**command, "pipeline": export.counting(most)}, verbosity="executionStats"
    )
    stats: Any = (
        explained["stages"][0]["$cursor"]["executionStats"] if "stages" in explained else explained["executionStats"]
    )
    assert stats["totalDocsExamined"] == 0
    assert stats["totalKeysExamined"] <= most + 1
