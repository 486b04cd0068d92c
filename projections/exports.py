"""All entries of a user, page by page, and how many there are: what exports are made of (contract http.md 8).

An export reads by key from the builds that were live when it began, so it costs the same memory whatever their size,
takes as long as it takes, and holds each entry that exists throughout exactly once. A build that vanishes under it (it
is dropped a grace period after a switch) is an error, never an early end.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domain.errors import ReadModelBehind
from infra.mongo import Mongo, mongo_errors
from projections.pages import PART, Filters, index_of
from projections.read_model import Document
from projections.registry import CHECKPOINT
from projections.view import BuildName

COLUMNS = (
    *("app_id", "portal", "title", "company_name", "location", "status", "created_at", "applied_at", "error_reason"),
)
PAGE = 500

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Summary:
    """Entries, not submissions. Portals are sorted, case ignored; one of those that differ only by case."""

    successful: int
    failed: int
    portals: Sequence[str]


@dataclass(frozen=True, slots=True)
class Export:
    """The rows of these builds, one after another, newest first in each."""

    mongo: Mongo
    builds: Sequence[BuildName]
    user_id: str
    filters: Filters

    async def count(self, most: int) -> int:
        """How many rows there are; above `most`, only that there are more. Looks at no more index keys than that."""
        found = 0
        for build in self.builds:
            if found <= most:
                found += await self._count(build, most + 1 - found)
        return found

    async def pages(self) -> AsyncIterator[Rows]:
        """Raises ReadModelBehind when a build has vanished, and what the store raises."""
        for build in self.builds:
            before: str | None = None
            while True:
                page = await self._page(build, before)
                if page:
                    yield page
                if len(page) < PAGE:
                    break
                before = page[-1]["order"]

    async def _count(self, build: BuildName, most: int) -> int:
        with mongo_errors():
            query, hint = self.counting(most), index_of(self.filters)
            found = await self.mongo.snapshot(str(build)).aggregate(query, hint=hint).to_list(None)
        return int(found[0]["count"]) if found else 0

    def counting(self, most: int) -> Sequence[Mapping[str, Any]]:
        """The query. All filters of an export are in the index, so it reads no entry."""
        return [{"$match": self.filters.match(self.user_id)}, {"$limit": most}, {"$count": "count"}]

    async def _page(self, build: BuildName, before: str | None) -> Rows:
        query: Sequence[Mapping[str, Any]] = [
            {"$match": self.filters.match(self.user_id, before)},
            {"$sort": {"order": -1}},
            {"$limit": PAGE},
            {"$project": dict.fromkeys((*COLUMNS, "order"), True)},
            {"$unionWith": {"coll": str(build), "pipeline": [{"$match": {"_id": CHECKPOINT}}, {"$set": {PART: True}}]}},
        ]
        with mongo_errors():
            cursor = self.mongo.snapshot(str(build)).aggregate(query, hint=index_of(self.filters))
            *rows, last = await cursor.to_list(None) or [{}]
        if PART not in last:
            raise ReadModelBehind(f"The read model {build.model} was dropped")
        return rows


def summary_of(counters: Sequence[Document]) -> Summary:
    """From the `totals` documents of a user."""
    whole = {one["list"]: one["count"] for one in counters if "portal" not in one}
    spelled: dict[str, str] = {}
    for one in sorted((one for one in counters if "portal" in one), key=lambda one: str(one["portal"])):
        spelled.setdefault(one["portal_folded"], one["portal"])
    portals = [spelled[folded] for folded in sorted(spelled)]
    return Summary(whole.get("applied", 0), whole.get("failed", 0), portals)
