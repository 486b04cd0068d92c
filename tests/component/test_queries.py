"""What the read models answer: filters, pages, positions, and how long a read waits."""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest

from domain.application_events import Status
from domain.errors import ReadModelBehind, StoreUnavailable
from domain.job import Job
from infra.mongo import Mongo, Pool
from projections import applied, status
from projections.pages import PageQuery, order_in
from projections.queries import BadCursor, EntryList, Filters, Page, Queries, fold_status
from projections.view import BuildName
from tests.builders import APPLICATION_ID, CV, START, ApplicationStory, a_job, an_application, some_applications
from tests.component.test_projector import with_picky
from tests.fakes.event_log import FakeEventLog
from tests.projecting import append, catch_up, collection, projecting

APPLIED, FAILED = EntryList.APPLIED, EntryList.FAILED
ALL = Filters()


@pytest.fixture
async def mongo(mongodb_uri: str, mongo_database: str) -> AsyncIterator[Mongo]:
    async with Mongo(mongodb_uri, mongo_database) as opened:
        yield opened


@pytest.fixture
def log() -> FakeEventLog:
    return FakeEventLog()


@pytest.fixture
def queries(mongo: Mongo) -> Queries:
    return Queries(mongo, read_wait_seconds=0.3)


async def project(mongo: Mongo, log: FakeEventLog, *stories: ApplicationStory, **options: Any) -> None:
    await append(log, *stories)
    async with projecting(mongo, log, **options) as projector:
        await catch_up(projector)
        await projector._leave()


def an_applied(number: int, *jobs: Job, user: str = "ada", minutes: int | None = None) -> ApplicationStory:
    """All its jobs applied; submitted that many minutes after START."""
    at = START + timedelta(minutes=number if minutes is None else minutes)
    story = an_application(UUID(int=APPLICATION_ID.int + number), user, at).submitted(jobs or [a_job()]).started()
    for place in range(1, len(jobs or [1]) + 1):
        story = story.attempted(place).applied(place)
    return story.succeeded()


def a_failed(number: int, *jobs: Job, user: str = "ada") -> ApplicationStory:
    at = START + timedelta(minutes=number)
    story = an_application(UUID(int=APPLICATION_ID.int + number), user, at).submitted(jobs or [a_job()]).started()
    for place in range(1, len(jobs or [1]) + 1):
        story = story.attempted(place).refused(place)
    return story.failed()


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
        retried = story.retried()
        await log.append(_after(retried, len(story.events)))
    await project(mongo, log)
    second = await queries.entries(FAILED, "ada", ALL, 10, first.next_cursor)
    assert ids(second) == [story.id.hex for story in reversed(stories[:3])]


def _after(story: ApplicationStory, version: int) -> Any:
    from domain.ports import Append

    return Append(story.recorded()[version:])


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
    build, counters = BuildName("applied", 1, 1), BuildName("totals", 1, 1)
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


# -- status and positions ---------------------------------------------------------------------------------------------


async def test_statuses_asked_at_the_same_moment_share_queries(
    mongo: Mongo, log: FakeEventLog, queries: Queries
) -> None:
    stories = [an_applied(n) for n in range(60)]
    await project(mongo, log, *stories)
    await queries.status("warm")
    finds = 0
    found = queries._statuses._fetch

    async def counted(keys: Sequence[str]) -> Any:
        nonlocal finds
        finds += 1
        return await found(keys)

    queries._statuses._fetch = counted
    answers = await asyncio.gather(*(queries.status(story.id.hex) for story in stories))
    assert [answer.value["application_id"] for answer in answers if answer.value] == [s.id.hex for s in stories]
    assert {answer.position for answer in answers} == {await log.head()}
    assert finds < 6


async def test_a_read_waits_until_its_position_is_reached(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    queries = Queries(mongo, read_wait_seconds=5)
    await project(mongo, log)
    story = an_applied(1)
    head = await append(log, story)
    reads: list[asyncio.Task[Any]] = [
        asyncio.create_task(queries.status(story.id.hex, head)),
        asyncio.create_task(queries.entry(APPLIED, "ada", story.id.hex, head)),
        asyncio.create_task(_total(queries, head)),
    ]
    await asyncio.wait(reads, timeout=0.1)
    assert not any(read.done() for read in reads)
    await project(mongo, log)
    status_answer, entry_answer, total = await asyncio.gather(*reads)
    assert status_answer.value["status"] == "success"
    assert entry_answer.value is not None
    assert total == 1
    assert status_answer.position == entry_answer.position == head


async def _total(queries: Queries, at_least: int) -> int:
    return (await queries.entries(APPLIED, "ada", ALL, 5, None, at_least)).total


async def test_it_does_not_wait_for_ever(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    await project(mongo, log, an_applied(1))
    head = await log.head()
    assert (await queries.status("x", head)).position == head
    begun = asyncio.get_running_loop().time()
    with pytest.raises(ReadModelBehind):
        await queries.status("x", head + 1)
    assert 0.3 <= asyncio.get_running_loop().time() - begun < 2
    with pytest.raises(ReadModelBehind):
        await queries.entries(APPLIED, "ada", ALL, 5, None, head + 1)


async def test_a_list_never_shows_a_part_of_a_commit(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    """Each application has two jobs, which are applied in one batch: their number is even at any time."""
    stories = [an_applied(n, a_job(), a_job()) for n in range(150)]
    async with projecting(mongo, log) as projector:
        await catch_up(projector)

        async def write() -> None:
            for story in stories:
                await append(log, story)
                await projector.turn()

        writing = asyncio.create_task(write())
        reads = 0
        while not writing.done():
            page = await queries.entries(APPLIED, "ada", ALL, 1000, None)
            shown = {entry["application_id"] for entry in page.entries}
            assert len(page.entries) == 2 * len(shown) == page.total
            assert page.position == sum(len(story.events) for story in stories[: len(shown)])
            reads += 1
        await writing
    assert reads > 10


# -- being built, and parked ------------------------------------------------------------------------------------------


async def test_nothing_is_answered_before_there_is_a_live_build(
    mongo: Mongo, log: FakeEventLog, queries: Queries
) -> None:
    assert not await queries.ready()
    with pytest.raises(ReadModelBehind):
        await queries.status("x")
    await project(mongo, log)
    await asyncio.sleep(0.06)  # it looks for a build that is not there no more often than that
    assert await queries.ready()
    assert await queries.positions() == {"status": 0, "applied": 0, "failed": 0, "totals": 0}


async def test_a_list_that_was_dropped_is_not_shown_as_empty(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    story = an_applied(1)
    await project(mongo, log, story)
    assert await queries.ready()
    await collection(mongo, "applied").drop()
    assert not await queries.ready()
    with pytest.raises(ReadModelBehind):
        await queries.entries(APPLIED, "ada", ALL, 5, None)
    with pytest.raises(ReadModelBehind):
        await queries.entry(APPLIED, "ada", story.id.hex)
    assert (await queries.status(story.id.hex)).value is not None


async def test_a_parked_stream_is_read_as_it_was_before(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    parked, other = an_applied(1), an_applied(2, user="bob")
    models = with_picky(status, parked.id, "application.job_applied")
    await project(mongo, log, parked, other, models=models)
    poisoned = next(n for n, event in enumerate(parked.events, 1) if event.NAME == "application.job_applied")
    found = await queries.status(parked.id.hex)
    assert found.value is not None
    assert (found.value["status"], found.position) == ("processing", poisoned - 1)
    assert (await queries.status(parked.id.hex, poisoned - 1)).position == poisoned - 1
    begun = asyncio.get_running_loop().time()
    with pytest.raises(ReadModelBehind, match="operator"):
        await queries.status(parked.id.hex, poisoned)
    assert asyncio.get_running_loop().time() - begun < 0.25, "waiting would be in vain"
    assert (await queries.status(other.id.hex, await log.head())).value is not None


async def test_lists_of_its_user_stand_before_it_and_other_users_lists_do_not(
    mongo: Mongo, log: FakeEventLog, queries: Queries
) -> None:
    fine, parked, other = an_applied(1), an_applied(2, a_job(), a_job()), an_applied(3, user="bob")
    models = with_picky(applied, parked.id, "application.succeeded")
    await project(mongo, log, fine, parked, other, models=models)
    poisoned = len(fine.events) + len(parked.events)
    page = await queries.entries(APPLIED, "ada", ALL, 5, None)
    assert (len(page.entries), page.total, page.position) == (3, 3, poisoned - 1)
    with pytest.raises(ReadModelBehind):
        await queries.entries(APPLIED, "ada", ALL, 5, None, poisoned)
    assert (await queries.entries(APPLIED, "bob", ALL, 5, None, await log.head())).total == 1


async def test_totals_that_count_more_than_a_parked_list_shows_are_not_told(
    mongo: Mongo, log: FakeEventLog, queries: Queries
) -> None:
    parked = an_applied(1, a_job(), a_job())
    await project(mongo, log, parked, models=with_picky(applied, parked.id, "application.job_applied"))
    assert (await queries.entries(APPLIED, "ada", ALL, 5, None)).total == 0


# -- for roles --------------------------------------------------------------------------------------------------------


async def test_applications_are_counted_by_status(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    await project(mongo, log, an_applied(50), a_failed(51), a_failed(52), *some_applications(3))
    assert await queries.application_counts() == {
        Status.PENDING: 3,
        Status.PROCESSING: 0,
        Status.SUCCESS: 1,
        Status.FAILED: 2,
        Status.CANCELLED: 0,
    }


async def test_those_that_do_not_move_are_found_the_oldest_first(
    mongo: Mongo, log: FakeEventLog, queries: Queries
) -> None:
    waiting = some_applications(4)
    started = replace(waiting[2], owner=waiting[2].owner).started()
    await project(mongo, log, waiting[3], started, waiting[1], waiting[0], an_applied(50), a_failed(51))
    old = START + timedelta(minutes=3)
    assert await queries.stuck(old, 10) == [waiting[0].id.hex, waiting[1].id.hex, started.id.hex]
    assert await queries.stuck(old, 2) == [waiting[0].id.hex, waiting[1].id.hex]
    assert await queries.stuck(START, 10) == []
    query = collection(mongo, "status").find({"waiting_since": {"$lt": old, "$type": "date"}}).sort("waiting_since")
    assert '"indexName":"waiting"' in orjson.dumps(await query.explain(), default=str).decode()


async def test_cvs_that_a_submission_names_are_told(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    one, two = (an_application(UUID(int=n)).submitted(cv=CV.model_copy(update={"id": f"cv-{n}"})) for n in (1, 2))
    await project(mongo, log, one, two.cancelled(), *some_applications(2))
    answer = await queries.cv_is_named(["cv-1", "cv-2", "cv-3", "checkpoint"])
    assert answer.value == {"cv-1", "cv-2"}
    assert answer.position == await log.head()


async def test_while_a_submission_is_parked_every_cv_may_be_named(
    mongo: Mongo, log: FakeEventLog, queries: Queries
) -> None:
    models = with_picky(status, APPLICATION_ID, "application.submitted")
    await project(mongo, log, an_application().submitted(), models=models)
    assert (await queries.cv_is_named(["cv-9"])).value == {"cv-9"}


def test_the_log_tells_the_same_status_as_the_read_model() -> None:
    story = an_applied(1)
    docs: dict[str, Any] = {}
    for recorded in story.recorded():
        status.apply(recorded, docs)
    assert fold_status(story.recorded()) == docs[story.id.hex]
    assert fold_status([]) is None


# -- without a database -----------------------------------------------------------------------------------------------


async def test_without_its_database_every_read_says_so() -> None:
    pool = Pool(select_server=100, connect=100)
    async with Mongo("mongodb://127.0.0.1:1/?replicaSet=rs0", "away", pool) as mongo:
        queries = Queries(mongo, 0.1)
        for read in (
            queries.status("x"),
            queries.status("x", 5),
            queries.entries(APPLIED, "ada", ALL, 5, None),
            queries.ready(),
            queries.positions(),
            queries.application_counts(),
        ):
            with pytest.raises(StoreUnavailable):
                await read
