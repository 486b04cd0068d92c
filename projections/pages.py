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
from typing import Any, Protocol

import orjson

from domain.job import TEXT_MAX
from projections import totals
from projections.entries import folded, order_beyond, order_from
from projections.read_model import Document
from projections.registry import CHECKPOINT
from projections.view import BuildName

ORDER = re.compile(r"[0-9a-f]{44}[0-9]{6}")
PART = "part"  # which part of the answer a document of the query is; an entry has none
FOLDED_MAX = 3 * TEXT_MAX  # characters: case folding makes three of one at most
NEVER = "(?!)"  # matches nothing
HIDDEN = {"resume_optimized": False, "cover_letter": False}

Pipeline = list[Mapping[str, Any]]


class BadCursor(ValueError):
    """Not a cursor that a page gave."""

    def __init__(self) -> None:
        super().__init__("The cursor cannot be read")


@dataclass(frozen=True, slots=True)
class Page:
    """Documents as their read model keeps them, without what a list does not show. `total` counts all that match."""

    entries: Sequence[Mapping[str, Any]]
    next_cursor: str | None
    total: int
    position: int


@dataclass(frozen=True, slots=True)
class Counters:
    """Documents of `totals`, and the field of theirs that counts."""

    query: Document
    field: str = "count"


class Selection(Protocol):
    """Which documents of a build a list shows. They have an `order`, and a `_id` that is the id in its cursors."""

    @property
    def index(self) -> str:
        """The database would guess from what it saw last."""

    def page(self, own: str, user_id: str, before: str | None, limit: int) -> Pipeline:
        """A user's documents after the one whose order is `before`, newest first. `own` is the collection."""

    def count(self, own: str, user_id: str) -> Pipeline:
        """Counts by scanning the user's documents."""

    def counters(self, model: str, user_id: str) -> Counters | None:
        """What in `totals` sums up to that; None if it does not know."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Of the entries of `/applied` and `/fail_applied`.

    They combine with AND; None and the empty string filter nothing. `date_to` is inclusive.
    """

    portal: str | None = None
    company_name: str | None = None
    title: str | None = None
    date_from: datetime | None = None
    date_to: datetime | None = None

    @property
    def index(self) -> str:
        return index_of(self)

    def page(self, own: str, user_id: str, before: str | None, limit: int) -> Pipeline:
        return [
            {"$match": self.match(user_id, before)},
            {"$sort": {"order": -1}},
            {"$limit": limit},
            {"$project": HIDDEN},
        ]

    def count(self, own: str, user_id: str) -> Pipeline:
        return [{"$match": self.match(user_id)}, {"$count": "count"}]

    def counters(self, model: str, user_id: str) -> Counters | None:
        if self.company_name or self.title or self.date_from or self.date_to:
            return None
        if not self.portal:
            return Counters({"_id": totals.entries_key(model, user_id)})
        return Counters({"user_id": user_id, "list": model, "portal_folded": folded(self.portal)})

    def match(self, user_id: str, before: str | None = None) -> Document:
        """The query for a user's entries, and of them those after the one whose order is `before`."""
        query: Document = {"user_id": user_id}
        if self.portal:
            query["portal_folded"] = folded(self.portal)
        if self.company_name:
            query["company_folded"] = {"$regex": literally(self.company_name)}
        if self.title:
            query["title_folded"] = {"$regex": literally(self.title)}
        upper = [order for order in (before, order_beyond(self.date_to) if self.date_to else None) if order]
        order = {"$gte": order_from(self.date_from)} if self.date_from else {}
        if upper:
            order["$lt"] = min(upper)
        return query | ({"order": order} if order else {})


def shows(filters: Filters, entry: Mapping[str, Any]) -> bool:
    """Whether a list with these filters shows an entry: what `Filters.match` asks of the database."""
    if filters.portal and entry["portal_folded"] != folded(filters.portal):
        return False
    for text, field in ((filters.company_name, "company_folded"), (filters.title, "title_folded")):
        if text and not re.search(literally(text), entry[field] or ""):
            return False
    order: str = entry["order"]
    begins = filters.date_from is None or order >= order_from(filters.date_from)
    return begins and (filters.date_to is None or order < order_beyond(filters.date_to))


def cursor_of(entry: Mapping[str, Any]) -> str:
    """Where the next page goes on."""
    return cursor_text({"id": entry["_id"], "order": entry["order"]})


def order_in(cursor: str) -> str:
    """The order of the last entry of the page before. Raises BadCursor."""
    order, _ = cursor_fields(cursor, "order", "id")
    if not isinstance(order, str) or not ORDER.fullmatch(order):
        raise BadCursor
    return order


def cursor_text(content: Mapping[str, Any]) -> str:
    """What a cursor holds, in characters that need no escape in an address."""
    return base64.urlsafe_b64encode(orjson.dumps(content)).decode().rstrip("=")


def cursor_fields(text: str, *names: str) -> Sequence[Any]:
    """What a cursor says of these. Raises BadCursor."""
    try:
        content = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        return [content[name] for name in names]
    except (ValueError, binascii.Error, TypeError, KeyError):
        raise BadCursor from None


def index_of(filters: Filters) -> str:
    """Of `projections/entries.py`. The database would guess from what it saw last."""
    return "user_portal" if filters.portal else "user"


@dataclass(frozen=True, slots=True)
class PageQuery:
    """What reads a page of a list. `counters` is the live build of `totals`, if there is one."""

    build: BuildName
    counters: BuildName | None
    user_id: str
    filters: Selection
    limit: int
    before: str | None

    @property
    def index(self) -> str:
        return self.filters.index

    @property
    def pipeline(self) -> Pipeline:
        """The page and one entry more, the checkpoint, the user's first parked stream, and the count."""
        own, user = str(self.build), self.user_id
        return [
            *self.filters.page(own, user, self.before, self.limit + 1),
            _also("checkpoint", own, {"$match": {"_id": CHECKPOINT}}),
            _also("parked", own, {"$match": {"concerns": user}}, {"$sort": {"position": 1}}, {"$limit": 1}),
            *(self._from_totals() or [_also("total", own, *self.count)]),
        ]

    @property
    def count(self) -> Pipeline:
        """Counts by scanning the user's documents."""
        return self.filters.count(str(self.build), self.user_id)

    def has_count(self, parts: Mapping[str, Document]) -> bool:
        """False when `totals` stands elsewhere than the list, or counts what a parked stream does not show."""
        if not self._from_totals():
            return True
        checkpoint, other = parts["checkpoint"], parts.get("totals")
        return other is not None and other["position"] == checkpoint["position"] and not checkpoint["parked"]

    def _from_totals(self) -> Pipeline:
        """Nothing if it does not know."""
        counters = self.filters.counters(self.build.model, self.user_id)
        if self.counters is None or counters is None:
            return []
        summed = {"$group": {"_id": None, "count": {"$sum": f"${counters.field}"}}}
        return [
            _also("totals", str(self.counters), {"$match": {"_id": CHECKPOINT}}),
            _also("total", str(self.counters), {"$match": counters.query}, summed),
        ]


def parts(found: Sequence[Document]) -> tuple[list[Document], dict[str, Document]]:
    """The entries of an answer, and its other parts."""
    return [one for one in found if PART not in one], {one[PART]: one for one in found if PART in one}


def _also(part: str, collection: str, *pipeline: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"$unionWith": {"coll": collection, "pipeline": [*pipeline, {"$set": {PART: part}}]}}


def literally(text: str) -> str:
    """A regular expression that finds the text itself, its case ignored. A pattern may not hold a NUL.

    MongoDB refuses patterns beyond 32 KiB. A text that no name of a job has room for is never found.
    """
    text = text.casefold()
    if len(text) > FOLDED_MAX:
        return NEVER
    return re.escape(text.encode(errors="replace").decode()).replace("\0", r"\x00")
