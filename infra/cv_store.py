"""The uploaded CVs: one document each, beside the read models but no projection (design 1).

A CV is stored by one upsert before the event that names it. Killed before the upsert: nothing is there. Killed between
upsert and event: a CV that nobody names, which the reconciler removes a day later. The same file of the same user is
the same document, whatever is repeated; of two users it is two documents, so that no user meets another's.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

from bson.binary import Binary
from pymongo import ASCENDING

from domain.job import CvReference
from infra.mongo import Mongo, mongo_errors

COLLECTION = "cvs"
CANDIDATES_AT_ONCE = 500

Named = Callable[[Sequence[str]], Awaitable[set[str] | None]]


class CvStore:
    """CVs by their id. All methods raise StoreUnavailable, StoreTimeout or StoreFailed."""

    def __init__(self, mongo: Mongo) -> None:
        self._cvs = mongo.database[COLLECTION]

    async def put(self, user_id: str, pdf: bytes) -> CvReference:
        """Stores it; durable when this returns. Storing it again sets its time anew (the server's)."""
        cv = await asyncio.to_thread(_reference, user_id, pdf)
        stored_now = {"$currentDate": {"stored_at": True}}
        with mongo_errors():
            again = await self._cvs.update_one({"_id": cv.id}, stored_now)
            if not again.matched_count:
                content = {"user_id": user_id, "sha256": cv.sha256, "size": cv.size, "pdf": Binary(pdf)}
                fields = {"$set": content, "$setOnInsert": {"named": False}, **stored_now}
                await self._cvs.update_one({"_id": cv.id}, fields, upsert=True)
        return cv

    async def read(self, cv_id: str) -> bytes | None:
        """None for one that is gone."""
        with mongo_errors():
            found = await self._cvs.find_one({"_id": cv_id}, {"pdf": True})
        return None if found is None else bytes(found["pdf"])

    async def prepare(self) -> None:
        """Makes the index that `remove_unused` walks by."""
        with mongo_errors():
            await self._cvs.create_index([("named", ASCENDING), ("stored_at", ASCENDING)], name="unused")

    async def remove_unused(self, age: timedelta, named: Named) -> int:
        """Removes the CVs stored longer ago than `age` that no submission has ever named. Returns how many.

        Their time is the server's, and so is the clock that it is compared with: one of ours that is ahead would take
        a CV whose submission is being appended. `named` tells which of some CVs a submission names, or None when it
        cannot tell for sure: then nothing more is marked or removed. A named CV is marked, and not asked about again.
        One that is stored again meanwhile stays: the delete repeats the condition on its time.
        """
        await self.prepare()
        removed = 0
        unused = old_and_unused(age)
        while True:
            with mongo_errors():
                found = await self._cvs.find(unused, {"_id": True}).limit(CANDIDATES_AT_ONCE).to_list(None)
            ids = [cv["_id"] for cv in found]
            kept = await named(ids) if ids else None
            if kept is None:
                return removed
            with mongo_errors():
                await self._cvs.update_many({"_id": {"$in": sorted(kept)}}, {"$set": {"named": True}})
                gone = await self._cvs.delete_many({"_id": {"$in": sorted(set(ids) - kept)}, **unused})
            removed += gone.deleted_count


def old_and_unused(age: timedelta) -> dict[str, Any]:
    """Matches CVs that were stored longer ago, by the server's clock, and that no submission is known to name."""
    before = {"$subtract": ["$$NOW", age // timedelta(milliseconds=1)]}
    return {"named": False, "$expr": {"$lt": ["$stored_at", before]}}


def _reference(user_id: str, pdf: bytes) -> CvReference:
    """The id is a hash, so that it tells nothing of the user."""
    sha256 = hashlib.sha256(pdf).hexdigest()
    id = hashlib.sha256(f"{user_id}\x1f{sha256}".encode()).hexdigest()
    return CvReference(id=id, size=len(pdf), sha256=sha256)
