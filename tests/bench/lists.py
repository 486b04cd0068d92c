"""What a page of a long list costs, against one of a short list: first and deep, of all entries and of one portal."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median
from uuid import uuid4

from infra.mongo import Mongo
from projections.mongo_view import MongoView
from projections.pages import cursor_of
from projections.projector import Projector
from projections.queries import EntryList, Filters, Queries
from projections.read_models import READ_MODELS
from tests.bench.projection import BATCH_MAX, LEASE_SECONDS, PORTALS
from tests.bench.report import Row
from tests.bench.seeding import seed
from tests.bench.servers import Servers
from tests.fakes.event_log import FakeEventLog

SHORT_LIST, LONG_LIST, PAGE, READS, SCANS = 100, 100_000, 20, 300, 10
PORTAL = Filters(portal=PORTALS[0])
SCANNED = {
    "title": Filters(title="er 77"),
    "company": Filters(company_name="mill &"),
    "both": Filters(company_name="sons", title="9"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A page that is asked for, again and again."""

    user_id: str
    filters: Filters
    cursor: str | None = None


async def measure(on: Servers) -> Sequence[Row]:
    """The ratio is that of the slowest of four pages: first and deep, all entries and one portal's."""
    async with empty_read_models(on.mongodb.url) as mongo:
        await seed(mongo, "short", applied_count=SHORT_LIST)
        await seed(mongo, "long", applied_count=LONG_LIST)
        queries = Queries(mongo, 1.0)
        ratios: list[float] = []
        told: list[str] = []
        for name, filters in (("all", Filters()), ("portal", PORTAL)):
            deep = Asked("long", filters, await middle(mongo, filters))
            pages = [Asked("short", filters), Asked("long", filters), deep]
            await times_of(queries, pages, READS // 10)  # warm
            short, *others = await times_of(queries, pages, READS)
            ratios += [one / short for one in others]
            told += [f"{name} {others[0]:.2f} first and {others[1]:.2f} deep against {short:.2f}"]
        scanned = await times_of(queries, [Asked("long", one) for one in SCANNED.values()], SCANS)
    scans = ", ".join(f"{name} {time:.0f}" for name, time in zip(SCANNED, scanned, strict=True))
    conditions = (
        f"page of {PAGE} of {LONG_LIST:,} entries against one of {SHORT_LIST}, in turn, medians of {READS}, the "
        f"slowest of four; ms: {'; '.join(told)}; by substrings, which count by scanning: {scans}"
    )
    return [Row("list_page_ratio", max(ratios), "", "< 1.5", conditions)]


@asynccontextmanager
async def empty_read_models(url: str) -> AsyncIterator[Mongo]:
    """All of them live, in a database of their own."""
    async with Mongo(url, f"bench_{uuid4().hex[:8]}") as mongo:
        async with MongoView(mongo, READ_MODELS, "bench", LEASE_SECONDS) as view:
            projector = Projector(FakeEventLog(), view, READ_MODELS, BATCH_MAX, LEASE_SECONDS)
            while await projector.turn():
                pass
        try:
            yield mongo
        finally:
            await mongo.client.drop_database(mongo.database.name)


async def times_of(queries: Queries, pages: Sequence[Asked], reads: int) -> Sequence[float]:
    """Median milliseconds of each. They are read in turn, so that all meet the same machine."""
    times: list[list[float]] = [[] for _ in pages]
    for _ in range(reads):
        for asked, seen in zip(pages, times, strict=True):
            began = time.perf_counter()
            page = await queries.entries(EntryList.APPLIED, asked.user_id, asked.filters, PAGE, asked.cursor)
            seen.append(1000 * (time.perf_counter() - began))
            assert len(page.entries) == PAGE
    return [median(seen) for seen in times]


async def middle(mongo: Mongo, filters: Filters) -> str:
    """A cursor in the middle of the long list."""
    found = mongo.database["applied.1.1"].find(filters.match("long"), {"order": True, "app_id": True}).sort("order", -1)
    count = await mongo.database["applied.1.1"].count_documents(filters.match("long"))
    [entry] = await found.skip(count // 2).to_list(1)
    return cursor_of(entry)
