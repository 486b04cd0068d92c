"""Which documents the lists of a user's applications and batches show (contract http.md 15).

An application and the names of its jobs are two documents (`projections/status.py`). A page goes by the index of one of
them and looks the other up: without filters of jobs by that of the applications, so that a page costs a page; with such
filters by that of the jobs, which are scanned for them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domain.application_events import Status
from projections import totals
from projections.entries import folded
from projections.pages import Counters, Pipeline, literally
from projections.read_model import Document

Stage = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ApplicationFilters:
    """They combine with AND; None and the empty string filter nothing. One job must match all that are of jobs."""

    status: Status | None = None
    portal: str | None = None
    company_name: str | None = None
    title: str | None = None

    @property
    def index(self) -> str:
        """Of `projections/status.py`."""
        if self._of_jobs:
            return "jobs"
        return "user_status" if self.status else "user"

    def page(self, own: str, user_id: str, before: str | None, limit: int) -> Pipeline:
        newest: Sequence[Stage] = [{"$sort": {"order": -1}}]
        of_page: Stage = {"$limit": limit}
        if self._of_jobs:
            return [{"$match": self._by_jobs(user_id, before)}, *newest, *self._with_application(own), of_page, *WHOLE]
        return [{"$match": self._by_status(user_id, before)}, *newest, of_page, *_with_jobs(own)]

    def count(self, own: str, user_id: str) -> Pipeline:
        counted = {"$count": "count"}
        if not self._of_jobs:
            return [{"$match": self._by_status(user_id)}, counted]
        looked_up = self._with_application(own) if self.status else []
        return [{"$match": self._by_jobs(user_id)}, *looked_up, counted]

    def counters(self, model: str, user_id: str) -> Counters | None:
        if self._of_jobs:
            return None
        field = f"parts.{self.status.value}" if self.status else "count"
        return Counters({"_id": totals.applications_key(user_id)}, field)

    @property
    def _of_jobs(self) -> bool:
        return bool(self.portal or self.company_name or self.title)

    def _by_status(self, user_id: str, before: str | None = None) -> Document:
        query = {"user_id": user_id} | ({"status": self.status.value} if self.status else {})
        return query | _older(before)

    def _by_jobs(self, user_id: str, before: str | None = None) -> Document:
        job: Document = {}
        if self.portal:
            job["portal"] = folded(self.portal)
        if self.company_name:
            job["company"] = {"$regex": literally(self.company_name)}
        if self.title:
            job["title"] = {"$regex": literally(self.title)}
        return {"jobs_of": user_id, **_older(before), "folded": {"$elemMatch": job}}

    def _with_application(self, own: str) -> Pipeline:
        """Beside the jobs; only those in the asked status."""
        found = {"from": own, "localField": "application_id", "foreignField": "_id", "as": "application"}
        if not self.status:
            return [{"$lookup": found}]
        in_status = {"$match": {"status": self.status.value}}
        return [{"$lookup": {**found, "pipeline": [in_status]}}, {"$match": {"application": {"$ne": []}}}]


# The application that was looked up, with the jobs that stand beside it.
WHOLE: Pipeline = [{"$replaceWith": {"$mergeObjects": [{"$first": "$application"}, {"jobs": "$jobs"}]}}]


def _with_jobs(own: str) -> Pipeline:
    """The names of its jobs, in each application."""
    names = {"$project": {"_id": False, "jobs": True}}
    found = {"from": own, "localField": "found", "foreignField": "_id", "pipeline": [names], "as": "found"}
    return [
        {"$set": {"found": {"$concat": ["jobs:", "$_id"]}}},
        {"$lookup": found},
        {"$set": {"jobs": {"$first": "$found.jobs"}}},
        {"$unset": "found"},
    ]


@dataclass(frozen=True, slots=True)
class AllBatches:
    """Without their items."""

    @property
    def index(self) -> str:
        """Of `projections/batches.py`."""
        return "user"

    def page(self, own: str, user_id: str, before: str | None, limit: int) -> Pipeline:
        return [
            {"$match": {"user_id": user_id} | _older(before)},
            {"$sort": {"order": -1}},
            {"$limit": limit},
            {"$unset": "items"},
        ]

    def count(self, own: str, user_id: str) -> Pipeline:
        return [{"$match": {"user_id": user_id}}, {"$count": "count"}]

    def counters(self, model: str, user_id: str) -> Counters | None:
        return Counters({"_id": totals.batches_key(user_id)})


def _older(before: str | None) -> Document:
    return {"order": {"$lt": before}} if before else {}
