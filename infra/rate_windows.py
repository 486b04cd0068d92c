"""One window of a rate limit: the hits of one caller in the last period, as one document (contract http.md 1.4).

The document counts hits by slots of time, `{_id, total, version, slots: {"<slot>": hits}, expire_at}`, so that it stays
small whatever the limit is. The hits of a slot leave together, when the slot's last instant does: never early. Up to a
limit of SLOTS a slot is a millisecond, so that each hit leaves at its own time.

`total` is the sum of all slots, also of those that have left and that nobody has taken out yet; `version` goes up with
whatever takes hits out. So a process that has read a window once knows how many hits count, now and later, from `total`
alone, as long as `version` stays and only slots leave that it has seen full. Else it reads the window again.

Every change is one update of one document, on a condition that it brings along: none can be half done, or done twice.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Self

SLOTS = 3_600  # of a window at most
OLDEST = 16  # slots of a window that a process keeps in mind
OPEN_MS = 1_000  # a slot may still fill for so long after it began: clocks differ, and a hit takes its time
LATE_MS = 60_000  # a document stays for so long after its last hit has left: clocks differ

Document = Mapping[str, Any]
Update = Mapping[str, Any]  # as the database's `update` command has them: q, u, upsert


@dataclass(frozen=True, slots=True)
class Size:
    """At most `most` hits in a window, whose time is cut into slots; times are in milliseconds."""

    most: int
    window: int
    slot: int

    @classmethod
    @lru_cache(64)
    def of(cls, limit: int, seconds: int) -> "Size":
        window = seconds * 1000
        return cls(limit, window, 1 if limit <= SLOTS else max(1, window // SLOTS))

    def slot_at(self, now: int) -> int:
        return now // self.slot

    def leaves(self, slot: int) -> int:
        """The first instant at which a slot's hits do not count any more."""
        return slot * self.slot + self.slot - 1 + self.window

    def expire_at(self, slot: int) -> datetime:
        """When the document may go. In steps, so that not every hit moves an index."""
        return datetime.fromtimestamp((self.leaves(slot) // LATE_MS + 2) * LATE_MS / 1000, UTC)


@dataclass(slots=True)
class Window:
    """What a process has seen of one window. `seen_at` is by the event loop's clock."""

    size: Size
    total: int
    version: int
    seen_at: float
    open_from: int  # this slot and later ones may have been filled up since
    oldest: deque[tuple[int, int]] = field(default_factory=deque)  # the first that count: slot, hits
    left: dict[int, int] = field(default_factory=dict)  # still in the document
    left_hits: int = 0

    @classmethod
    def of(cls, size: Size, document: Document, now: int, seen_at: float) -> Self:
        window = cls(size, document["total"], version_of(document), seen_at, size.slot_at(now - OPEN_MS))
        for slot, hits in sorted(slots_of(document).items()):
            if size.leaves(slot) <= now:
                window._leave(slot, hits)
            elif hits and len(window.oldest) < OLDEST:  # none: all of it was given back
                window.oldest.append((slot, hits))
        return window

    @property
    def hits(self) -> int:
        """How many count."""
        return self.total - self.left_hits

    def advance(self, now: int) -> bool:
        """Lets go what has left by then. Whether the window is still known; if not, it is of no use any more."""
        while self.oldest and self.size.leaves(self.oldest[0][0]) <= now:
            slot, hits = self.oldest.popleft()
            if slot >= self.open_from:
                return False
            self._leave(slot, hits)
        return bool(self.oldest) or self.hits == 0

    def next_leaves(self) -> int | None:
        """When the oldest hit that counts will leave; None if there is none."""
        return self.size.leaves(self.oldest[0][0]) if self.oldest else None

    def has_plenty(self, amount: int) -> bool:
        """Whether so many more would leave half of the window free."""
        return 2 * (self.hits + amount) <= self.size.most

    def needs_taking_out(self, amount: int) -> bool:
        """Whether what has left should go before so many more come in."""
        return bool(self.left) and (len(self.left) >= OLDEST or self.total + amount > self.size.most)

    def _leave(self, slot: int, hits: int) -> None:
        self.left[slot] = hits
        self.left_hits += hits


def version_of(document: Document) -> int:
    return int(document.get("version", 0))


def slots_of(document: Document) -> dict[int, int]:
    return {int(slot): hits for slot, hits in document["slots"].items()}


def counting(key: str, size: Size, amount: int, now: int, *, plenty: bool) -> Update:
    """`amount` more hits, if they fit. If not, the server refuses it for a duplicate key.

    With `plenty` of room it does not ask: it costs the server half as much to find a document by nothing but its key.
    """
    slot = size.slot_at(now)
    changes = {"$inc": {"total": amount, f"slots.{slot}": amount}, "$max": {"expire_at": size.expire_at(slot)}}
    fits = {} if plenty else {"total": {"$lte": size.most - amount}}
    return {"q": {"_id": key, **fits}, "u": changes, "upsert": True}


def taking_back(key: str, slot: int, amount: int, **seen: int) -> Update:
    """Hits that were counted in this slot; if `seen` fields are as they were."""
    return {"q": {"_id": key, **seen}, "u": {"$inc": {"total": -amount, f"slots.{slot}": -amount, "version": 1}}}


def taking_out(key: str, window: Window) -> Update:
    """What has left, and only as it was seen: a hit that came into such a slot very late is not lost from `total`."""
    left = {f"slots.{slot}": hits for slot, hits in window.left.items()}
    changes = {"$unset": dict.fromkeys(left, 1), "$inc": {"total": -window.left_hits, "version": 1}}
    return {"q": {"_id": key, **left}, "u": changes}


def giving_back(key: str, document: Document, first: int, amount: int) -> Update | None:
    """`amount` hits out of one slot: the first one from `first` on that has so many; None if none has."""
    slots = slots_of(document)
    slot = min((slot for slot, hits in slots.items() if slot >= first and hits >= amount), default=None)
    return None if slot is None else taking_back(key, slot, amount, **{f"slots.{slot}": slots[slot]})
