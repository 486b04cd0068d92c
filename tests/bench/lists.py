"""What a page of a long list costs, against one of a short list: first and deep, of all entries and of one portal."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
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


async def measure(on: Servers) -> Sequence[Row]:
    """The ratio is that of the slowest of four pages: first and deep, all entries and one portal's."""
    async with empty_read_models(on.mongodb.url) as mongo:
        await seed(mongo, "short", applied_count=SHORT_LIST)
        await seed(mongo, "long", applied_count=LONG_LIST)
        queries = Queries(mongo, 1.0)
        ratios: dict[str, float] = {}
        told: list[str] = []
        for name, filters in (("all", Filters()), ("portal", PORTAL)):
            deep = await middle(mongo, filters)
            for user_id, cursor in (("long", None), ("short", None), ("long", deep)):  # warm
                await page_ms(queries, user_id, filters, cursor, 50)
            short = await page_ms(queries, "short", filters, None, READS)
            for place, cursor in (("first", None), ("deep", deep)):
                long = await page_ms(queries, "long", filters, cursor, READS)
                ratios[f"{name}, {place}"] = long / short
                told.append(f"{name}, {place}: {long:.2f} ms against {short:.2f}")
        scans = [f"{name} {await page_ms(queries, 'long', one, None, SCANS):.0f} ms" for name, one in SCANNED.items()]
    conditions = (
        f"page of {PAGE} of {LONG_LIST:,} entries against one of {SHORT_LIST}, medians of {READS}; the slowest of "
        f"{'; '.join(told)}; substrings, which count by scanning: {', '.join(scans)}"
    )
    return [Row("list_page_ratio", max(ratios.values()), "", "< 1.5", conditions)]


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


async def page_ms(queries: Queries, user_id: str, filters: Filters, cursor: str | None, reads: int) -> float:
    """Median milliseconds of a page."""
    times = []
    for _ in range(reads):
        began = time.perf_counter()
        page = await queries.entries(EntryList.APPLIED, user_id, filters, PAGE, cursor)
        times.append(time.perf_counter() - began)
        assert len(page.entries) == PAGE
    return median(times) * 1000


async def middle(mongo: Mongo, filters: Filters) -> str:
    """A cursor in the middle of the long list."""
    found = mongo.database["applied.1.1"].find(filters.match("long"), {"order": True, "app_id": True}).sort("order", -1)
    count = await mongo.database["applied.1.1"].count_documents(filters.match("long"))
    [entry] = await found.skip(count // 2).to_list(1)
    return cursor_of(entry)
