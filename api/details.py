"""/applied/{app_id}, /fail_applied/{app_id}: what was written for one job (contract http.md 5)."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from api.errors import ValidationFailed
from api.keys import AT_LEAST, CLAIMS, PAST, QUERIES
from api.operations import Answer, Operations
from api.ownership import EntryId, find_status, find_status_at
from api.time_travel import Past, position_of
from domain.errors import ApplicationNotFound, JobNotFound
from projections.queries import Answer as Found
from projections.queries import EntryList

operations = Operations("Entries")


class DetailsView(BaseModel):
    """The documents of one job; null for one that was not made."""

    resume_optimized: dict[str, Any] | None
    cover_letter: dict[str, Any] | None


ERRORS = (ApplicationNotFound, JobNotFound, ValidationFailed)


@operations.get("/applied/{app_id}", answers=DetailsView, query=Past, errors=ERRORS, reads=True)
async def get_applied(request: web.Request, query: Past) -> Answer[DetailsView]:
    """The documents of a job that was applied."""
    return await _documents(request, query, EntryList.APPLIED)


@operations.get("/fail_applied/{app_id}", answers=DetailsView, query=Past, errors=ERRORS, reads=True)
async def get_failed(request: web.Request, query: Past) -> Answer[DetailsView]:
    """What had been written for a job before it failed."""
    return await _documents(request, query, EntryList.FAILED)


async def _documents(request: web.Request, query: Past, kind: EntryList) -> Answer[DetailsView]:
    id, user_id = EntryId.parse(request.match_info["app_id"]), request[CLAIMS].user_id
    if query.as_of is None:
        found = await request.app[QUERIES].entry(kind, user_id, id.text, request[AT_LEAST])
        if found.value is None:
            raise _why_missing(id, await find_status(request, id))
        return Answer(DetailsView.model_validate(found.value), found.position)
    position = await position_of(request, query.as_of)
    entry = await request.app[PAST].entry(kind, id.application_id, id.text, position)
    if entry is None or entry["user_id"] != user_id:
        raise _why_missing(id, await find_status_at(request, id, position))
    return Answer(DetailsView.model_validate(entry), position)


def _why_missing(id: EntryId, status: Found[Mapping[str, Any]]) -> ApplicationNotFound | JobNotFound:
    """Of an application that is the caller's, and has such a job if the id names one."""
    if id.position is None and status.value["job_count"] > 1:
        return JobNotFound(f"Application {id.text} has several jobs: ask with the id of an entry")
    return ApplicationNotFound(id.text)
