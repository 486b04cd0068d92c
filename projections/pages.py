"""Pages of the lists: filters, cursors, and the one query that reads a page of an instant (contract http.md 4).

A page is a range of an index, found by the key of the entry before it: its cost does not grow with the list, and
entries that come or go meanwhile neither shift nor repeat the others.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from projections import totals
from projections.entries import folded, order_beyond, order_from
from projections.mongo_view import CHECKPOINT
from projections.read_model import Document
from projections.view import BuildName

ORDER = re.compile(r"[0-9a-f]{44}[0-9]{6}")
PART = "part"  # which part of the answer a document of the query is; an entry has none
HIDDEN = {"resume_optimized": False, "cover_letter": False}

Pipeline = list[Mapping[str, Any]]


class BadCursor(ValueError):
    """Not a cursor that a page gave."""

    def __init__(self) -> None:
        super().__init__("The cursor cannot be read")


@dataclass(frozen=True, slots=True)
class Filters:
    """They combine with AND; None and the empty string filter nothing. `date_to` is inclusive."""

    portal: str | None = None
    company_name: str | None = None
    title: str | None = None
    date_from: datetime | None = None
    date_to: datetime | None = None

    @property
    def counted(self) -> bool:
        """Whether `totals` knows how many entries they match."""
        return not (self.company_name or self.title or self.date_from or self.date_to)

    def match(self, user_id: str, before: str | None = None) -> Document:
        """The query for a user's entries, and of them those after the one whose order is `before`."""
        query: Document = {"user_id": user_id}
        if self.portal:
            query["portal_folded"] = folded(self.portal)
        if self.company_name:
            query["company_folded"] = {"$regex": _literally(self.company_name)}
        if self.title:
            query["title_folded"] = {"$regex": _literally(self.title)}
        upper = [order for order in (before, order_beyond(self.date_to) if self.date_to else None) if order]
        order = {"$gte": order_from(self.date_from)} if self.date_from else {}
        if upper:
            order["$lt"] = min(upper)
        return query | ({"order": order} if order else {})


def cursor_of(entry: Mapping[str, Any]) -> str:
    """Where the next page goes on."""
    return base64.urlsafe_b64encode(orjson.dumps({"id": entry["app_id"], "order": entry["order"]})).decode().rstrip("=")


def order_in(cursor: str) -> str:
    """The order of the last entry of the page before. Raises BadCursor."""
    try:
        content = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        order, _ = content["order"], content["id"]
    except (ValueError, binascii.Error, TypeError, KeyError):
        raise BadCursor from None
    if not isinstance(order, str) or not ORDER.fullmatch(order):
        raise BadCursor
    return order


def index_of(filters: Filters) -> str:
    """Of `projections/entries.py`. The database would guess from what it saw last."""
    return "user_portal" if filters.portal else "user"


@dataclass(frozen=True, slots=True)
class PageQuery:
    """What reads a page of a list. `counters` is the live build of `totals`, if there is one."""

    build: BuildName
    counters: BuildName | None
    user_id: str
    filters: Filters
    limit: int
    before: str | None

    @property
    def index(self) -> str:
        return index_of(self.filters)

    @property
    def pipeline(self) -> Pipeline:
        """The page and one entry more, the checkpoint, the user's first parked stream, and the count."""
        own, user = str(self.build), self.user_id
        return [
            {"$match": self.filters.match(user, self.before)},
            {"$sort": {"order": -1}},
            {"$limit": self.limit + 1},
            {"$project": HIDDEN},
            _also("checkpoint", own, {"$match": {"_id": CHECKPOINT}}),
            _also("parked", own, {"$match": {"concerns": user}}, {"$sort": {"position": 1}}, {"$limit": 1}),
            *(self._from_totals(self.counters) if self._in_totals else [_also("total", own, *self.count)]),
        ]

    @property
    def count(self) -> Pipeline:
        """Counts by scanning the user's entries."""
        return [{"$match": self.filters.match(self.user_id)}, {"$count": "count"}]

    def has_count(self, parts: Mapping[str, Document]) -> bool:
        """False when `totals` stands elsewhere than the list, or counts what a parked stream does not show."""
        if not self._in_totals:
            return True
        checkpoint, other = parts["checkpoint"], parts.get("totals")
        return other is not None and other["position"] == checkpoint["position"] and not checkpoint["parked"]

    @property
    def _in_totals(self) -> bool:
        return self.counters is not None and self.filters.counted

    def _from_totals(self, counters: BuildName | None) -> Pipeline:
        own, portal = str(counters), self.filters.portal
        checkpoint = _also("totals", own, {"$match": {"_id": CHECKPOINT}})
        if not portal:
            return [
                checkpoint,
                _also("total", own, {"$match": {"_id": totals.entries_key(self.build.model, self.user_id)}}),
            ]
        spelled = {"user_id": self.user_id, "list": self.build.model, "portal_folded": folded(portal)}
        summed = {"$group": {"_id": None, "count": {"$sum": "$count"}}}
        return [checkpoint, _also("total", own, {"$match": spelled}, summed)]


def parts(found: Sequence[Document]) -> tuple[list[Document], dict[str, Document]]:
    """The entries of an answer, and its other parts."""
    return [one for one in found if PART not in one], {one[PART]: one for one in found if PART in one}


def _also(part: str, collection: str, *pipeline: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"$unionWith": {"coll": collection, "pipeline": [*pipeline, {"$set": {PART: part}}]}}


def _literally(text: str) -> str:
    """A regular expression that finds the text itself, its case ignored. A pattern may not hold a NUL."""
    return re.escape(text.casefold().encode(errors="replace").decode()).replace("\0", r"\x00")
