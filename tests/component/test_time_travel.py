"""Lists of the past: which applications they look at, and what they cost (contract http.md 1.6a)."""

from uuid import UUID

import pytest

from domain.errors import ReadModelBehind
from infra.mongo import Mongo
from projections import status, time_travel
from projections.queries import EntryList, Filters, Past, Queries, TooFarBack
from tests.builders import a_job
from tests.fakes.event_log import FakeEventLog
from tests.projecting import an_applied, append, project, with_picky

APPLIED = EntryList.APPLIED.value
ALL = Filters()


@pytest.fixture
def queries(mongo: Mongo) -> Queries:
    return Queries(mongo, read_wait_seconds=0.3)


@pytest.fixture
def past(log: FakeEventLog, queries: Queries) -> Past:
    return Past(log, queries)


async def ids(past: Past, position: int, user: str = "ada") -> set[str]:
    return {entry["_id"] for entry in (await past.page(APPLIED, user, ALL, 100, None, position)).entries}


@pytest.mark.parametrize("poison", ["application.submitted", "application.job_applied"])
async def test_an_application_whose_stream_is_parked_is_there_all_the_same(
    mongo: Mongo, log: FakeEventLog, past: Past, poison: str
) -> None:
    """The read model tells that it is there; what it was stands in the log."""
    parked, fine, other = an_applied(1), an_applied(2), an_applied(3, user="bob")
    await project(mongo, log, parked, fine, other, models=with_picky(status, parked.id, poison))
    head = await log.head()
    assert await ids(past, head) == {parked.id.hex, fine.id.hex}
    assert await ids(past, len(parked.events)) == {parked.id.hex}
    assert await ids(past, head, "bob") == {other.id.hex}


async def test_a_list_waits_for_all_that_was_submitted_by_then(mongo: Mongo, log: FakeEventLog, past: Past) -> None:
    await project(mongo, log, an_applied(1))
    known = await log.head()
    later = an_applied(2)
    head = await append(log, later)
    assert len(await ids(past, known)) == 1
    with pytest.raises(ReadModelBehind):
        await ids(past, head)
    await project(mongo, log)
    assert len(await ids(past, head)) == 2


async def test_the_jobs_of_a_user_bound_the_work(
    mongo: Mongo, log: FakeEventLog, past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_travel, "JOBS_MAX", 12)
    await project(mongo, log, *(an_applied(n, a_job(), a_job(), a_job()) for n in range(1, 5)))
    head = await log.head()
    assert (await past.page(APPLIED, "ada", ALL, 10, None, head)).total == 12
    await project(mongo, log, an_applied(5))
    with pytest.raises(TooFarBack, match="jobs: narrow it by date_from and date_to"):
        await past.page(APPLIED, "ada", ALL, 10, None, head)
    assert await past.status(UUID(int=1), head) is None
