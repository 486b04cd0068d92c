"""What the other folders may ask of the read models: all that they import of this one.

Every read is of one instant: it never sees a part of a commit, and it tells the position that it reflects at least.
Asked for a later one, it waits until the read model has reached it (contract http.md 1.6). A read that concerns a
parked stream reflects the position before its parked event, whatever else has come since.

All methods raise ReadModelBehind when a position is not reached in time or a read model is being built, and
StoreUnavailable, StoreTimeout or StoreFailed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any, Generic, TypeVar

from domain.application_events import ApplicationSubmitted, Status
from domain.errors import ReadModelBehind
from domain.event import RecordedEvent
from infra.coalesce import Coalescer
from infra.mongo import Mongo, mongo_errors
from projections import applied, batches, failed, status, totals
from projections.exports import Export, Summary, summary_of
from projections.live import VERSIONS, LiveBuilds, PositionWatch, Superseded, position_in
from projections.overviews import AllBatches, ApplicationFilters
from projections.pages import BadCursor, Filters, Page, PageQuery, Selection, cursor_of, order_in, parts
from projections.parked import parked_id, parked_stream
from projections.parked_list import Cursor, count_parked, parked_streams
from projections.past import fold_entries, fold_status, up_to
from projections.read_model import Document
from projections.registry import CHECKPOINT, SUPERSEDED
from projections.standing import Standing, State, standings
from projections.stored_updates import History, Update, UpdateId
from projections.time_travel import Past, TooFarBack
from projections.update_feed import Tell, UpdateFeed
from projections.view import BuildName

__all__ = [
    "SUBMISSIONS",
    "Answer",
    "ApplicationFilters",
    "BadCursor",
    "EntryList",
    "Export",
    "Filters",
    "History",
    "Page",
    "Past",
    "Queries",
    "Standing",
    "State",
    "Stuck",
    "Summary",
    "TooFarBack",
    "Update",
    "UpdateFeed",
    "UpdateId",
    "fold_batch",
    "fold_entries",
    "fold_status",
    "up_to",
]

T = TypeVar("T")
SUBMISSIONS = status.NAME  # the read model that holds each submission, with its CV


class EntryList(StrEnum):
    """The lists, by the name of their read model."""

    APPLIED = applied.NAME
    FAILED = failed.NAME


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """`position` is what the read reflects at least."""

    value: T
    position: int


@dataclass(frozen=True, slots=True)
class Stuck:
    """A page of applications by their ids, the oldest first.

    `last`: the time of the last one's newest event, after which the next page begins; None if there is no other.
    """

    ids: Sequence[str]
    last: datetime | None


@dataclass(frozen=True, slots=True)
class _Read(Generic[T]):
    value: T
    position: int
    parked: bool = False  # the position does not move until an operator decides


def fold_batch(recorded: Iterable[RecordedEvent]) -> Mapping[str, Any] | None:
    """The `batches` document of a batch from its own events and those of its items, in the log's order."""
    docs: dict[str, Document] = {}
    for one in recorded:
        batches.apply(one, docs)
    return next(iter(docs.values()), None)


class Queries:
    def __init__(self, mongo: Mongo, read_wait_seconds: float) -> None:
        self._mongo, self._wait_seconds = mongo, read_wait_seconds
        self._live = LiveBuilds(mongo)
        self._watches = {model: PositionWatch(self._live, model) for model in VERSIONS}
        self._statuses: Coalescer[str, _Read[Document | None]] = Coalescer(self._read_statuses, name="read status")

    # -- one application ----------------------------------------------------------------------------------------------

    async def status(self, application_id: str, at_least: int = 0) -> Answer[Mapping[str, Any] | None]:
        """The document, None if there is none; its `user_id` tells whose it is. Calls at one moment share a query."""
        return await self._reaching(status.NAME, at_least, partial(self._read_status, application_id))

    async def _read_status(self, application_id: str) -> _Read[Mapping[str, Any] | None]:
        found = await self._statuses.get(application_id)
        assert found is not None, "the query answers for each id"
        return _Read(found.value, found.position, found.parked)

    async def _read_statuses(self, ids: Sequence[str]) -> Mapping[str, _Read[Document | None]]:
        build = await self._live.of(status.NAME)
        return await self._read_by_id(build, {id: id for id in ids})

    async def batch(self, batch_id: str, at_least: int = 0) -> Answer[Mapping[str, Any] | None]:
        """The document, None if there is none; its `user_id` tells whose it is."""

        async def read() -> _Read[Mapping[str, Any] | None]:
            build = await self._live.of(batches.NAME)
            found = (await self._read_by_id(build, {batch_id: batch_id}))[batch_id]
            return _Read(found.value, found.position, found.parked)

        return await self._reaching(batches.NAME, at_least, read)

    # -- lists --------------------------------------------------------------------------------------------------------

    async def entries(
        self, kind: EntryList, user_id: str, filters: Filters, limit: int, cursor: str | None, at_least: int = 0
    ) -> Page:
        """A page, newest submission first. Raises BadCursor."""
        return await self._page(kind.value, user_id, filters, limit, cursor, at_least)

    async def applications(
        self, user_id: str, filters: ApplicationFilters, limit: int, cursor: str | None, at_least: int = 0
    ) -> Page:
        """A page of status documents with the names of their first `jobs`, newest first. Raises BadCursor."""
        return await self._page(status.NAME, user_id, filters, limit, cursor, at_least)

    async def batches(self, user_id: str, limit: int, cursor: str | None, at_least: int = 0) -> Page:
        """A page of batches without their items, newest first. Raises BadCursor."""
        return await self._page(batches.NAME, user_id, AllBatches(), limit, cursor, at_least)

    async def entry(
        self, kind: EntryList, user_id: str, entry_id: str, at_least: int = 0
    ) -> Answer[Mapping[str, Any] | None]:
        """One entry with its documents; None if it is unknown, in the other list, or another user's."""

        async def read() -> _Read[Mapping[str, Any] | None]:
            build = await self._live.of(kind.value)
            found = (await self._read_by_id(build, {entry_id: entry_id.partition("-")[0]}))[entry_id]
            own = found.value is not None and found.value["user_id"] == user_id
            return _Read(found.value if own else None, found.position, found.parked)

        return await self._reaching(kind.value, at_least, read)

    async def _page(
        self, model: str, user_id: str, filters: Selection, limit: int, cursor: str | None, at_least: int
    ) -> Page:
        before = None if cursor is None else order_in(cursor)

        async def read() -> _Read[Page]:
            build, counters = await self._live.of(model), await self._live.find(totals.NAME)
            return await self._read_page(PageQuery(build, counters, user_id, filters, limit, before))

        return (await self._reaching(model, at_least, read)).value

    async def _read_page(self, query: PageQuery) -> _Read[Page]:
        entries, others = parts(await self._aggregate(query.build, query.pipeline, hint=query.index))
        position, parked = position_in(others.get("checkpoint"), query.build), others.get("parked")
        if parked:
            position = parked["position"] - 1
        counted = others.get("total")
        if not query.has_count(others):
            counted = next(iter(await self._aggregate(query.build, query.count, hint=query.index)), None)
        total = counted["count"] if counted else 0
        page, more = entries[: query.limit], len(entries) > query.limit
        return _Read(Page(page, cursor_of(page[-1]) if more else None, total, position), position, parked is not None)

    # -- exports ------------------------------------------------------------------------------------------------------

    async def export(
        self, user_id: str, filters: Filters, kinds: Sequence[EntryList], at_least: int = 0
    ) -> Answer[Export]:
        """All entries of these lists. The position is what the first page of each will reflect at least."""
        found = [
            await self._reaching(kind.value, at_least, partial(self._stand, kind.value, user_id)) for kind in kinds
        ]
        position = min((one.position for one in found), default=at_least)
        return Answer(Export(self._mongo, [one.value for one in found], user_id, filters), position)

    async def export_summary(self, user_id: str, at_least: int = 0) -> Answer[Summary]:
        async def read() -> _Read[Summary]:
            build = await self._live.of(totals.NAME)
            checkpoint = {"$unionWith": {"coll": str(build), "pipeline": [{"$match": {"_id": CHECKPOINT}}]}}
            found = await self._aggregate(build, [{"$match": {"user_id": user_id}}, checkpoint])
            last = found.pop() if found and found[-1]["_id"] == CHECKPOINT else None
            position = position_in(last, build)
            return _Read(summary_of(found), position)

        return await self._reaching(totals.NAME, at_least, read)

    async def _stand(self, model: str, user_id: str) -> _Read[BuildName]:
        """The live build, and how far it is for this user."""
        build = await self._live.of(model)
        concerns = {"$or": [{"_id": CHECKPOINT}, {"concerns": user_id}]}
        with mongo_errors():
            fields = {"position": True, SUPERSEDED: True}
            found = {one["_id"]: one async for one in self._mongo.snapshot(str(build)).find(concerns, fields)}
        position = position_in(found.pop(CHECKPOINT, None), build)
        return _Read(build, min((one["position"] - 1 for one in found.values()), default=position), bool(found))

    # -- the past -----------------------------------------------------------------------------------------------------

    async def submissions(self, user_id: str, filters: Filters, limit: int, at_least: int) -> Sequence[tuple[str, int]]:
        """Ids of a user's applications that were submitted in the filters' time, each with its number of jobs.

        All that were submitted up to that position, also those whose stream is parked; at most `limit`.
        """

        async def read() -> _Read[Sequence[tuple[str, int]]]:
            build = await self._live.of(status.NAME)
            own = self._mongo.snapshot(str(build))
            query = {key: value for key, value in filters.match(user_id).items() if key in {"user_id", "order"}}
            with mongo_errors():
                checkpoint = await own.find_one({"_id": CHECKPOINT}, {"position": True})
                if checkpoint is None:
                    raise ReadModelBehind(f"The read model {status.NAME} is being built")
                found = await own.find(query, {"job_count": True}, hint="user").limit(limit).to_list(None)
                parked = await own.find({"concerns": user_id}, {"_id": True}).limit(limit).to_list(None)
            counts = {parked_stream(one["_id"]): 1 for one in parked} | {one["_id"]: one["job_count"] for one in found}
            return _Read(list(counts.items()), checkpoint["position"])

        return (await self._reaching(status.NAME, at_least, read)).value

    # -- streams ------------------------------------------------------------------------------------------------------

    @property
    def history(self) -> History:
        """What could have been told until now."""
        return History(self._mongo, self._live)

    def update_feed(self, tell: Tell) -> UpdateFeed:
        """What is told from now on; one is enough for a process."""
        return UpdateFeed(self._mongo, tell)

    # -- for roles ----------------------------------------------------------------------------------------------------

    async def ready(self) -> bool:
        """Whether each read model has a live build of this release's schema version."""
        return None not in (await asyncio.gather(*(self._live.position(model) for model in VERSIONS)))

    async def positions(self) -> Mapping[str, int]:
        """How far the live build of each read model is; 0 while there is none."""
        found = await asyncio.gather(*(self._live.position(model) for model in VERSIONS))
        return {model: position or 0 for model, position in zip(VERSIONS, found, strict=True)}

    async def standings(self) -> Sequence[Standing]:
        """How far each read model is, and whether somebody projects it."""
        return await standings(self._mongo)

    async def parked(self, projection: str | None, limit: int, cursor: str | None) -> Page:
        """Streams that wait for an operator, in one read model or all, newest first. Raises BadCursor."""
        after = None if cursor is None else Cursor.read(cursor)
        found = [await self._live.find(model) for model in VERSIONS if projection in {None, model}]
        builds = [build for build in found if build is not None]
        entries = await parked_streams(self._mongo, builds, limit + 1, after)
        page, more = entries[:limit], len(entries) > limit
        return Page(page, Cursor.of(page[-1]).text if more else None, await count_parked(self._mongo, builds), 0)

    async def application_counts(self) -> Mapping[Status, int]:
        """How many applications are in each status."""
        build = await self._live.of(totals.NAME)
        with mongo_errors():
            found = await self._mongo.snapshot(str(build)).find({"status": {"$exists": True}}).to_list(None)
        counts = {one["status"]: one["count"] for one in found}
        return {one: counts.get(one.value, 0) for one in Status}

    async def stuck(self, before: datetime, limit: int, after: datetime | None = None) -> Stuck:
        """A page of applications that have not ended and whose newest event is older than that, and later than `after`.

        At most `limit`, and all of one instant, such as those of a batch: the next page begins after it. A parked
        stream is told as it stood before its parked event.
        """
        build = await self._live.of(status.NAME)
        own, fields = self._mongo.snapshot(str(build)), {"waiting_since": True}
        since = {"$lt": before, "$type": "date"}  # the type is what the index is limited to
        later = {} if after is None else {"$gt": after}
        with mongo_errors():
            page = own.find({"waiting_since": since | later}, fields).sort("waiting_since").limit(limit)
            found = await page.to_list(None)
            if len(found) < limit:
                return Stuck([one["_id"] for one in found], None)
            last = found[-1]["waiting_since"]
            found += await own.find({"waiting_since": {"$eq": last, "$type": "date"}}, fields).to_list(None)
        return Stuck(list(dict.fromkeys(one["_id"] for one in found)), last)

    async def cv_is_named(self, cv_ids: Sequence[str]) -> Answer[set[str] | None]:
        """Those of these CVs that a submission names; None while one is parked here, as it may name any.

        A submission that an operator has skipped is not known here: the decisions on SUBMISSIONS tell which.
        """
        build = await self._live.of(status.NAME)
        own = str(build)
        submission = {"concerns": {"$exists": True}, "event_type": ApplicationSubmitted.NAME}
        found = await self._aggregate(
            build,
            [
                {"$match": {"cv_id": {"$in": list(cv_ids), "$type": "string"}}},
                {"$group": {"_id": "$cv_id"}},
                {"$unionWith": {"coll": own, "pipeline": [{"$match": {"_id": CHECKPOINT}}]}},
                {"$unionWith": {"coll": own, "pipeline": [{"$match": submission}, {"$limit": 1}]}},
            ],
        )
        others = {one["_id"]: one for one in found if "position" in one}  # a grouped id has nothing but itself
        if CHECKPOINT not in others:
            raise ReadModelBehind(f"The read model {status.NAME} is being built")
        parked = len(others) > 1
        named = {one["_id"] for one in found if "position" not in one}
        return Answer(None if parked else named, others[CHECKPOINT]["position"])

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _reaching(self, model: str, at_least: int, read: Callable[[], Awaitable[_Read[T]]]) -> Answer[T]:
        """What a read gives once it reflects the position. One that met a former build is made again."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait_seconds
        while True:
            try:
                found = await read()
            except Superseded as old:
                self._live.forget(old.build)
                if loop.time() > deadline:
                    raise ReadModelBehind(f"The read model {model} is being exchanged") from old
                continue
            if found.position >= at_least:
                return Answer(found.value, found.position)
            if found.parked:
                raise ReadModelBehind(f"The read model {model} waits for an operator at position {found.position + 1}")
            await self._watches[model].reach(at_least, deadline - loop.time())

    async def _read_by_id(self, build: BuildName, streams: Mapping[str, str]) -> Mapping[str, _Read[Document | None]]:
        """Documents by their ids, each of the stream that it is mapped to."""
        ids = [*streams, *map(parked_id, streams.values()), CHECKPOINT]
        with mongo_errors():
            found = await self._mongo.snapshot(str(build)).find({"_id": {"$in": ids}}).to_list(None)
        docs = {one["_id"]: one for one in found}
        reached = position_in(docs.get(CHECKPOINT), build)

        def read(id: str) -> _Read[Document | None]:
            doc, parked = docs.get(id), docs.get(parked_id(streams[id]))
            position = parked["position"] - 1 if parked else reached
            return _Read(doc if doc and "user_id" in doc else None, position, parked is not None)

        return {id: read(id) for id in streams}

    async def _aggregate(self, build: BuildName, query: Sequence[Mapping[str, Any]], **options: str) -> list[Document]:
        with mongo_errors():
            return await self._mongo.snapshot(str(build)).aggregate(query, **options).to_list(None)
