"""/applied/{app_id}, /fail_applied/{app_id}: what was written for one job (contract http.md 5)."""

from typing import Any

from aiohttp import web
from pydantic import BaseModel

from api.keys import AT_LEAST, CLAIMS, QUERIES
from api.operations import Answer, Operations
from api.ownership import EntryId, find_status
from domain.errors import ApplicationNotFound, JobNotFound
from projections.queries import EntryList

operations = Operations("Entries")


class DetailsView(BaseModel):
    """The documents of one job; null for one that was not made."""

    resume_optimized: dict[str, Any] | None
    cover_letter: dict[str, Any] | None


@operations.get("/applied/{app_id}", answers=DetailsView, errors=(ApplicationNotFound, JobNotFound), reads=True)
async def get_applied(request: web.Request) -> Answer[DetailsView]:
    """The documents of a job that was applied."""
    return await _documents(request, EntryList.APPLIED)


@operations.get("/fail_applied/{app_id}", answers=DetailsView, errors=(ApplicationNotFound, JobNotFound), reads=True)
async def get_failed(request: web.Request) -> Answer[DetailsView]:
    """What had been written for a job before it failed."""
    return await _documents(request, EntryList.FAILED)


async def _documents(request: web.Request, kind: EntryList) -> Answer[DetailsView]:
    id = EntryId.parse(request.match_info["app_id"])
    found = await request.app[QUERIES].entry(kind, request[CLAIMS].user_id, id.text, request[AT_LEAST])
    if found.value is None:
        raise await _why_missing(request, id)
    return Answer(DetailsView.model_validate(found.value), found.position)


async def _why_missing(request: web.Request, id: EntryId) -> ApplicationNotFound | JobNotFound:
    """Raises one of them itself when the application is unknown, another's, or has no such job."""
    status = await find_status(request, id)
    if id.position is None and status.value["job_count"] > 1:
        return JobNotFound(f"Application {id.text} has several jobs: ask with the id of an entry")
    return ApplicationNotFound(id.text)
