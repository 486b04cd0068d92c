"""The streams that wait for an operator in the live builds, newest first, page by page (contract http.md 15)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from infra.mongo import Mongo, mongo_errors
from projections.pages import BadCursor, cursor_fields, cursor_text
from projections.parked import PREFIX
from projections.read_model import Document
from projections.view import BuildName

PARKED: Document = {"_id": {"$gte": PREFIX, "$lt": f"{PREFIX}g"}}
FIELDS = ("stream", "position", "event_type", "error", "group", "waiting", "first_at")


@dataclass(frozen=True, slots=True)
class Cursor:
    """After which stream a page begins: that of one event in one read model."""

    position: int
    projection: str
    stream: str

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self:
        return cls(entry["position"], entry["projection"], entry["stream"])

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises BadCursor."""
        position, projection, stream = cursor_fields(text, "position", "projection", "id")
        if type(position) is not int or not isinstance(projection, str) or not 0 <= position < 2**63:
            raise BadCursor
        return cls(position, projection, stream)

    @property
    def text(self) -> str:
        return cursor_text({"id": self.stream, "position": self.position, "projection": self.projection})

    def older(self, projection: str) -> Document:
        """What of a read model comes after it. An event is parked in several by the order of their names."""
        return {"position": {"$lte" if projection > self.projection else "$lt": self.position}}


async def parked_streams(
    mongo: Mongo, builds: Sequence[BuildName], limit: int | None, after: Cursor | None = None
) -> Sequence[Mapping[str, Any]]:
    """At most `limit`, or all of them. Raises what `mongo_errors` does."""
    found: list[dict[str, Any]] = []
    for build in builds:
        query = PARKED if after is None else {**PARKED, **after.older(build.model)}
        with mongo_errors():
            cursor = mongo.snapshot(str(build)).find(query).sort("position", -1).limit(limit or 0)
            found += [{"projection": build.model, "build": str(build), **one} async for one in cursor]
    found.sort(key=lambda one: (-one["position"], one["projection"]))
    return found if limit is None else found[:limit]


async def count_parked(mongo: Mongo, builds: Sequence[BuildName]) -> int:
    with mongo_errors():
        return sum([await mongo.snapshot(str(build)).count_documents(PARKED) for build in builds])
