"""/applied and /fail_applied: a user's jobs that were applied or failed, page by page (contract http.md 4)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, Field, WithJsonSchema

from api.errors import ValidationFailed
from api.ids import AppId, ApplicationId
from api.keys import AT_LEAST, CLAIMS, PAST, QUERIES
from api.operations import Answer, Operations
from api.pages import PageOf, Pagination, read_page
from api.parameters import Begin, End, PortalFilter
from api.time_travel import AsOf, position_of, refused
from domain.job import Job
from projections.queries import EntryList, Filters, Page, TooFarBack

operations = Operations("Entries")


class ListQuery(PageOf):
    """Filters combine with AND."""

    portal: PortalFilter | None = None
    company_name: Annotated[str, Field(description="A part of it, in any case")] | None = None
    title: Annotated[str, Field(description="A part of it, in any case")] | None = None
    date_from: Begin | None = None
    date_to: End | None = None
    as_of: AsOf = None

    @property
    def filters(self) -> Filters:
        return Filters(
            portal=self.portal,
            company_name=self.company_name,
            title=self.title,
            date_from=self.date_from,
            date_to=self.date_to,
        )


EntryStatus = Annotated[str, WithJsonSchema({"type": "string", "enum": ["success", "failed"]})]


class EntryView(Job):
    """One job as its user gave it, and what became of it."""

    application_id: ApplicationId
    status: EntryStatus
    created_at: Annotated[datetime, Field(description="Of the submission")]
    applied_at: datetime | None
    error_reason: str | None


class ListView(BaseModel):
    """The newest submission first; the jobs of one application in their order."""

    data: dict[AppId, EntryView]
    pagination: Pagination


@operations.get("/applied", answers=ListView, query=ListQuery, errors=(ValidationFailed,), reads=True)
async def list_applied(request: web.Request, query: ListQuery) -> Answer[ListView]:
    """The caller's jobs that were applied."""
    return await _page(request, query, EntryList.APPLIED)


@operations.get("/fail_applied", answers=ListView, query=ListQuery, errors=(ValidationFailed,), reads=True)
async def list_failed(request: web.Request, query: ListQuery) -> Answer[ListView]:
    """The caller's jobs that failed."""
    return await _page(request, query, EntryList.FAILED)


async def _page(request: web.Request, query: ListQuery, kind: EntryList) -> Answer[ListView]:
    page, pagination = await read_page(query, _reading(request, query, kind))
    data: Mapping[str, Any] = {entry["app_id"]: entry for entry in page.entries}
    return Answer(ListView.model_validate({"data": data, "pagination": pagination}), page.position)


async def _reading(request: web.Request, query: ListQuery, kind: EntryList) -> Page:
    user_id, asked = request[CLAIMS].user_id, (query.filters, query.limit, query.cursor)
    if query.as_of is None:
        return await request.app[QUERIES].entries(kind, user_id, *asked, request[AT_LEAST])
    try:
        return await request.app[PAST].page(kind.value, user_id, *asked, await position_of(request, query.as_of))
    except TooFarBack as error:
        raise refused(str(error)) from None
