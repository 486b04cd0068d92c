"""Updates as they are kept: their ids, and a user's history from one id to another (contract http.md 13)."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from domain.errors import ReadModelBehind
from infra.mongo import Mongo, mongo_errors
from projections import updates
from projections.live import LiveBuilds, Superseded, position_in
from projections.pages import PART
from projections.read_model import Document
from projections.registry import CHECKPOINT
from projections.view import BuildName

PAGE = 200


@dataclass(frozen=True, slots=True, order=True)
class UpdateId:
    """The event's position, and which of its updates: its first is 0, and known by the position alone."""

    position: int
    number: int = 0

    def __str__(self) -> str:
        return f"{self.position}.{self.number}" if self.number else str(self.position)

    @property
    def stored(self) -> str:
        return updates.update_id(self.position, self.number)

    @classmethod
    def last_of(cls, position: int) -> Self:
        """After all updates of that event, and before the next event's."""
        return cls(position, 10**updates.NUMBER_DIGITS - 1)

    @classmethod
    def of_stored(cls, id: str) -> Self:
        position, _, number = id.partition(".")
        return cls(int(position), int(number))


@dataclass(frozen=True, slots=True)
class Update:
    """One message, as `projections/updates.py` keeps it. `application_id` is None where it is about a batch."""

    id: UpdateId
    user_id: str
    application_id: str | None
    message: Mapping[str, Any]

    @classmethod
    def of(cls, document: Document) -> Self:
        message = {name: value for name, value in document.items() if name not in {"_id", "user_id"}}
        return cls(UpdateId.of_stored(document["_id"]), document["user_id"], document.get("application_id"), message)


@dataclass(frozen=True, slots=True)
class History:
    """What a user was, or could have been, told."""

    mongo: Mongo
    live: LiveBuilds

    async def pages(
        self, user_id: str, after: UpdateId, upto: UpdateId, application_ids: Collection[str] = ()
    ) -> AsyncGenerator[Sequence[Update], None]:
        """His updates with ids in (after, upto], in order; if applications are named, only theirs.

        Raises ReadModelBehind when the read model does not reach that far, or is being built anew, and StoreErrors.
        """
        query: Document = {"user_id": user_id}
        if application_ids:
            query["application_id"] = {"$in": list(application_ids)}
        while after < upto:
            page = await self._page({**query, "_id": {"$gt": after.stored, "$lte": upto.stored}}, upto.position)
            if page:
                yield page
            if len(page) < PAGE:
                return
            after = page[-1].id

    async def _page(self, query: Document, position: int) -> Sequence[Update]:
        build = await self.live.of(updates.NAME)
        try:
            return await self._page_of(build, query, position)
        except Superseded:
            self.live.forget(build)
            return await self._page_of(await self.live.of(updates.NAME), query, position)

    async def _page_of(self, build: BuildName, query: Document, position: int) -> Sequence[Update]:
        pipeline: list[Mapping[str, Any]] = [
            {"$match": query},
            {"$sort": {"_id": 1}},
            {"$limit": PAGE},
            {"$unionWith": {"coll": str(build), "pipeline": [{"$match": {"_id": CHECKPOINT}}, {"$set": {PART: True}}]}},
        ]
        with mongo_errors():
            found = await self.mongo.snapshot(str(build)).aggregate(pipeline, hint="user").to_list(None)
        *documents, last = found or [{}]
        if PART not in last or position_in(last, build) < position:
            raise ReadModelBehind("The read model updates is being built anew")
        return [Update.of(one) for one in documents]
