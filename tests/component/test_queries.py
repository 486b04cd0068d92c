"""What else the read models answer: positions and how long a read waits, parked streams, what roles ask."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest

from domain.application_events import Status
from domain.errors import ReadModelBehind, StoreUnavailable
from domain.event import Owner
from infra.mongo import Mongo, Pool
from projections import applied, status
from projections.queries import EntryList, Filters, Queries, Stuck, fold_status
from projections.read_models import READ_MODELS
from tests.builders import APPLICATION_ID, CV, START, a_job, an_application, some_applications
from tests.fakes.event_log import FakeEventLog
from tests.projecting import a_failed, an_applied, append, catch_up, collection, project, projecting, with_picky

APPLIED, FAILED = EntryList.APPLIED, EntryList.FAILED
ALL = Filters()


@pytest.fixture
def queries(mongo: Mongo) -> Queries:
    return Queries(mongo, read_wait_seconds=0.3)


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
    assert await queries.positions() == {model.NAME: 0 for model in READ_MODELS}


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
    async with asyncio.timeout(10):  # waiting would be in vain
        with pytest.raises(ReadModelBehind, match="operator"):
            await Queries(mongo, read_wait_seconds=30).status(parked.id.hex, poisoned)
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
    assert await queries.stuck(old, 10) == Stuck([waiting[0].id.hex, waiting[1].id.hex, started.id.hex], None)
    assert await queries.stuck(START, 10) == Stuck([], None)
    query = collection(mongo, "status").find({"waiting_since": {"$lt": old, "$type": "date"}}).sort("waiting_since")
    assert '"indexName":"waiting"' in orjson.dumps(await query.explain(), default=str).decode()


async def test_those_that_do_not_move_come_in_pages_that_part_no_instant(
    mongo: Mongo, log: FakeEventLog, queries: Queries
) -> None:
    first, *of_batch, last = some_applications(7)
    at = [START + timedelta(minutes=n) for n in range(3)]
    at_once = [replace(one, owner=Owner("ada", 1, at[1])) for one in of_batch]
    last = replace(last, owner=Owner("ada", 1, at[2]))
    await project(mongo, log, last, *at_once, first)
    old = START + timedelta(hours=1)
    page = await queries.stuck(old, 1)
    assert page == Stuck([first.id.hex], at[0])
    page = await queries.stuck(old, 2, page.last)
    assert (sorted(page.ids), page.last) == (sorted(one.id.hex for one in at_once), at[1])
    assert await queries.stuck(old, 2, page.last) == Stuck([last.id.hex], None)
    whole = await queries.stuck(old, 3)
    assert (set(whole.ids), whole.last) == ({first.id.hex, *(one.id.hex for one in at_once)}, at[1])
    assert len(whole.ids) == 6


async def test_cvs_that_a_submission_names_are_told(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    one, two = (an_application(UUID(int=n)).submitted(cv=CV.model_copy(update={"id": f"cv-{n}"})) for n in (1, 2))
    await project(mongo, log, one, two.cancelled(), *some_applications(2))
    answer = await queries.cv_is_named(["cv-1", "cv-2", "cv-3", "checkpoint"])
    assert answer.value == {"cv-1", "cv-2"}
    assert answer.position == await log.head()


async def test_while_a_submission_is_parked_no_cv_is_judged(mongo: Mongo, log: FakeEventLog, queries: Queries) -> None:
    models = with_picky(status, APPLICATION_ID, "application.submitted")
    await project(mongo, log, an_application().submitted(), *some_applications(2)[1:], models=models)
    assert (await queries.cv_is_named([CV.id, "cv-9"])).value is None


async def test_what_is_parked_later_than_its_submission_bars_no_judgement(
    mongo: Mongo, log: FakeEventLog, queries: Queries
) -> None:
    models = with_picky(status, APPLICATION_ID, "application.processing_started")
    await project(mongo, log, an_application().submitted().started(), models=models)
    assert (await queries.cv_is_named([CV.id, "cv-9"])).value == {CV.id}


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
