"""The lists and their details as the read models answer them: order, pages, filters, counts."""

import base64
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest

from domain.job import Job
from domain.ports import Append
from infra.mongo import Mongo
from projections.pages import PageQuery, order_in
from projections.queries import BadCursor, EntryList, Filters, Page, Queries
from tests.builders import APPLICATION_ID, START, a_job
from tests.fakes.event_log import FakeEventLog
from tests.projecting import a_failed, an_applied, collection, first_build, project

APPLIED, FAILED = EntryList.APPLIED, EntryList.FAILED
ALL = Filters()


@pytest.fixture
def queries(mongo: Mongo) -> Queries:
    return Queries(mongo, read_wait_seconds=0.3)


def ids(page: Page) -> Sequence[str]:
    return [entry["app_id"] for entry in page.entries]


async def walk(queries: Queries, filters: Filters = ALL, limit: int = 3, user: str = "ada") -> Sequence[str]:
    """All entries, page by page."""
    found: list[str] = []
    cursor = None
    while True:
        page = await queries.entries(APPLIED, user, filters, limit, cursor)
        assert len(page.entries) <= limit
        found += ids(page)
        cursor = page.next_cursor
        if cursor is None:
            return found


# -- lists ------------------------------------------------------------------------------------------------------------


async def test_newest_first_and_the_jobs_of_one_in_their_order(
    mongo: Mongo, log: FakeEventLog, queries: Queries
) -> None:
    stories = [an_applied(1), an_applied(2, *[a_job()] * 11), an_applied(3)]
    await project(mongo, log, *stories)
    page = await queries.entries(APPLIED, "ada", ALL, 100, None)
    one, several, newest = (story.id.hex for story in stories)
    assert ids(page) == [newest, *(f"{several}-{place}" for place in range(1, 12)), one]
    assert (page.next_cursor, page.total, page.position) == (None, 13, await log.head())


async def test_an_empty_list_is_a_page(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    await project(mongo, log)
    page = await queries.entries(APPLIED, "nobody", ALL, 20, None)
    assert (list(page.entries), page.next_cursor, page.total, page.position) == ([], None, 0, 0)


async def test_a_list_shows_the_fields_of_a_job_but_not_its_documents(
    mongo: Mongo, log: FakeEventLog, queries: Queries
) -> None:
    await project(mongo, log, an_applied(1, a_job("Cook", skills_required=("Rye",))), a_failed(2))
    [entry] = (await queries.entries(APPLIED, "ada", ALL, 20, None)).entries
    assert set(Job.model_fields) <= set(entry)
    assert (entry["title"], entry["skills_required"], entry["status"]) == ("Cook", ["Rye"], "success")
    assert not {"resume_optimized", "cover_letter"} & set(entry)
    [entry] = (await queries.entries(FAILED, "ada", ALL, 20, None)).entries
    assert (entry["status"], entry["error_reason"], entry["applied_at"]) == ("failed", "Position closed", None)


async def test_nobody_sees_another_users_entries(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    await project(mongo, log, an_applied(1, user="ada"), an_applied(2, user="bob"), a_failed(3, user="bob"))
    assert ids(await queries.entries(APPLIED, "ada", ALL, 20, None)) == [UUID(int=APPLICATION_ID.int + 1).hex]
    assert (await queries.entries(FAILED, "ada", ALL, 20, None)).total == 0
    [entry] = ids(await queries.entries(APPLIED, "bob", ALL, 20, None))
    assert (await queries.entry(APPLIED, "ada", entry)).value is None


# -- paging -----------------------------------------------------------------------------------------------------------


async def test_walking_the_pages_shows_each_entry_once(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    stories = [an_applied(n, *[a_job()] * (1 + n % 3), minutes=n // 3) for n in range(8)]
    await project(mongo, log, *stories)
    whole = ids(await queries.entries(APPLIED, "ada", ALL, 100, None))
    assert len(set(whole)) == sum(1 + n % 3 for n in range(8))
    for limit in (1, 2, 3, 7, len(whole), 100):
        assert await walk(queries, limit=limit) == whole


async def test_entries_that_come_meanwhile_shift_nothing(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    stories = [an_applied(n) for n in range(0, 12, 2)]
    await project(mongo, log, *stories)
    first = await queries.entries(APPLIED, "ada", ALL, 3, None)
    await project(mongo, log, an_applied(100), an_applied(9))
    second = await queries.entries(APPLIED, "ada", ALL, 3, first.next_cursor)
    assert [*ids(first), *ids(second)] == [story.id.hex for story in reversed(stories)]
    assert (first.total, second.total) == (6, 8)


async def test_entries_that_vanish_meanwhile_hide_no_other(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    stories = [a_failed(n) for n in range(6)]
    await project(mongo, log, *stories)
    first = await queries.entries(FAILED, "ada", ALL, 2, None)
    for story in stories[3:5]:  # one that was shown, the one that the cursor names, one that comes next
        await log.append(Append(story.retried().recorded()[len(story.events) :]))
    await project(mongo, log)
    second = await queries.entries(FAILED, "ada", ALL, 10, first.next_cursor)
    assert ids(second) == [story.id.hex for story in reversed(stories[:3])]


async def test_a_cursor_is_a_json_object_with_an_id(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    await project(mongo, log, an_applied(1), an_applied(2))
    page = await queries.entries(APPLIED, "ada", ALL, 1, None)
    assert page.next_cursor is not None
    content = orjson.loads(base64.urlsafe_b64decode(page.next_cursor + "=" * (-len(page.next_cursor) % 4)))
    assert content["id"] == ids(page)[0]
    padded = page.next_cursor + "=" * (-len(page.next_cursor) % 4)
    assert len((await queries.entries(APPLIED, "ada", ALL, 1, padded)).entries) == 1


NO_CURSORS = ["", "{}", "[]", "1", "null", "{", '"x"', '{"id":"x"}', '{"id":"x","order":1}', '{"id":"x","order":"y"}']


@pytest.mark.parametrize(
    "cursor",
    [
        *(base64.urlsafe_b64encode(content.encode()).decode() for content in NO_CURSORS),
        *("%", "ü", "a", "====", "\0", "eyJ+/", "\ud800"),
    ],
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(BadCursor):
        order_in(cursor)


# -- filters ----------------------------------------------------------------------------------------------------------

JOBS = (
    a_job("Bäcker (m/w/d)", portal="LinkedIn", company_name="Mühle & Söhne"),
    a_job("baker's hand", portal="LINKEDIN", company_name="50% .*Off"),
    a_job("Straße\0Cook", portal="Indeed", company_name=None),
    a_job("Waiter", portal=None, company_name="mühle"),
)


FOUND: Sequence[tuple[Filters, Sequence[int]]] = [
    (Filters(), [1, 2, 3, 4]),
    (Filters(portal="", company_name="", title=""), [1, 2, 3, 4]),
    (Filters(portal="linkedin"), [1, 2]),
    (Filters(portal="Linked"), []),
    (Filters(portal="INDEED"), [3]),
    (Filters(company_name="MÜHLE"), [1, 4]),
    (Filters(company_name=".*"), [2]),
    (Filters(company_name="% ."), [2]),
    (Filters(title="BÄCKER (M"), [1]),
    (Filters(title="ba.er"), []),
    (Filters(title="STRASSE"), [3]),
    (Filters(title="\0c"), [3]),
    (Filters(title="'s h", portal="linkedIN"), [2]),
    (Filters(title="er", company_name="mühle"), [1, 4]),
    (Filters(title="\ud800"), []),
    (Filters(title="^"), []),
    (Filters(title="a" * 5000), []),
    (Filters(company_name="\\"), []),
]


async def test_a_filter_finds_what_it_says_and_counts_it(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    story = an_applied(1, *JOBS)
    await project(mongo, log, story, an_applied(2, *JOBS, user="bob"))
    for filters, places in FOUND:
        page = await queries.entries(APPLIED, "ada", filters, 20, None)
        assert ids(page) == [f"{story.id.hex}-{place}" for place in places], filters
        assert page.total == len(places), filters
        assert await walk(queries, filters, limit=1) == ids(page), filters


WITHIN: Sequence[tuple[float | None, float | None, Sequence[int]]] = [
    (None, None, [4, 3, 2, 1, 0]),
    (2, None, [4, 3, 2]),
    (None, 2, [2, 1, 0]),
    (1, 3, [3, 2, 1]),
    (2, 2, [2]),
    (3, 2, []),
    (0.5, 3.5, [3, 2, 1]),
]


async def test_dates_include_both_ends(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    stories = [an_applied(n) for n in range(5)]
    await project(mongo, log, *stories)
    for since, until, numbers in WITHIN:
        begin, end = (None if minute is None else START + timedelta(minutes=minute) for minute in (since, until))
        filters = Filters(date_from=begin, date_to=end)
        page = await queries.entries(APPLIED, "ada", filters, 20, None)
        assert ids(page) == [stories[n].id.hex for n in numbers], filters
        assert page.total == len(numbers), filters
        assert await walk(queries, filters, limit=2) == ids(page), filters


async def test_a_cursor_of_another_filter_lets_nothing_else_in(
    mongo: Mongo, log: FakeEventLog, queries: Queries
) -> None:
    stories = [an_applied(n) for n in range(5)]
    await project(mongo, log, *stories)
    newest = await queries.entries(APPLIED, "ada", ALL, 1, None)
    until = Filters(date_to=START + timedelta(minutes=2))
    page = await queries.entries(APPLIED, "ada", until, 20, newest.next_cursor)
    assert ids(page) == [story.id.hex for story in reversed(stories[:3])]


async def test_a_filtered_count_is_right_while_totals_lag(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    await project(mongo, log, *(an_applied(n) for n in range(3)))
    await collection(mongo, "totals").update_one({"_id": "checkpoint"}, {"$set": {"position": 1}})
    await collection(mongo, "totals").delete_many({"_id": {"$ne": "checkpoint"}})
    for filters in (ALL, Filters(portal="sandbox")):
        assert (await queries.entries(APPLIED, "ada", filters, 2, None)).total == 3
    await collection(mongo, "totals").drop()
    assert (await queries.entries(APPLIED, "ada", ALL, 2, None)).total == 3


async def test_a_page_of_a_long_list_is_read_by_its_index(mongo: Mongo, log: FakeEventLog) -> None:
    await project(mongo, log, *(an_applied(n) for n in range(40)))
    entries = collection(mongo, "applied")
    middle = (await entries.find({"user_id": "ada"}).sort("order", -1).to_list(20))[-1]["order"]
    build, counters = first_build("applied"), first_build("totals")
    for filters, index in ((ALL, "user"), (Filters(portal="sandbox"), "user_portal"), (Filters(title="b"), "user")):
        query = PageQuery(build, counters, "ada", filters, 3, middle)
        pipeline: list[Any] = query.pipeline[:4]
        command = {"aggregate": entries.name, "pipeline": pipeline, "cursor": {}, "hint": query.index}
        plan = await mongo.database.command({"explain": command, "verbosity": "executionStats"})
        text = orjson.dumps(plan, default=str).decode()
        assert f'"indexName":"{index}"' in text
        assert '"stage":"SORT"' not in text
        assert '"totalDocsExamined":4' in text


# -- details ----------------------------------------------------------------------------------------------------------


async def test_a_detail_has_the_documents(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    story = an_applied(1, a_job(), a_job())
    await project(mongo, log, story)
    found = await queries.entry(APPLIED, "ada", f"{story.id.hex}-2")
    assert found.value is not None
    assert found.value["resume_optimized"] == {"round": 1, "for": 2}
    assert found.value["cover_letter"] == {"text": "Letter 1 for 2"}
    assert found.position == await log.head()


async def test_ids_of_odd_shape_are_of_nothing(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    await project(mongo, log, an_applied(1))
    for id in ("checkpoint", "parked:", "nothing", "", "$ne", "a\0b", "x" * 10_000):
        assert (await queries.entry(APPLIED, "ada", id)).value is None
        assert (await queries.status(id)).value is None


async def test_an_entry_of_the_other_list_is_not_found(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    story = a_failed(1)
    await project(mongo, log, story)
    assert (await queries.entry(APPLIED, "ada", story.id.hex)).value is None
    assert (await queries.entry(FAILED, "ada", story.id.hex)).value is not None
