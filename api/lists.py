"""/applied and /fail_applied: a user's jobs that were applied or failed, page by page (contract http.md 4)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, Field, WithJsonSchema

from api.errors import Problem, ValidationFailed
from api.ids import AppId, ApplicationId
from api.keys import AT_LEAST, CLAIMS, QUERIES
from api.operations import Answer, Operations
from api.parameters import Begin, End, Limit, PortalFilter, Query
from domain.job import Job
from projections.queries import BadCursor, EntryList, Filters

operations = Operations("Entries")


class ListQuery(Query):
    """Filters combine with AND. Those that were sent for a page must be sent again with its cursor."""

    limit: Limit = 20
    cursor: Annotated[str, Field(description="`next_cursor` of the page before")] | None = None
    portal: PortalFilter | None = None
    company_name: Annotated[str, Field(description="A part of it, in any case")] | None = None
    title: Annotated[str, Field(description="A part of it, in any case")] | None = None
    date_from: Begin | None = None
    date_to: End | None = None

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


class Pagination(BaseModel):
    """Where a page stands. The next one is asked for with `next_cursor`, null on the last."""

    limit: int
    next_cursor: str | None
    has_more: bool
    total_count: int


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
    try:
        page = await request.app[QUERIES].entries(
            kind, request[CLAIMS].user_id, query.filters, query.limit, query.cursor, request[AT_LEAST]
        )
    except BadCursor:
        raise ValidationFailed("The cursor cannot be read", [Problem("cannot be read", "cursor")]) from None
    pagination = Pagination(
        limit=query.limit,
        next_cursor=page.next_cursor,
        has_more=page.next_cursor is not None,
        total_count=page.total,
    )
    data: Mapping[str, Any] = {entry["app_id"]: entry for entry in page.entries}
    return Answer(ListView.model_validate({"data": data, "pagination": pagination}), page.position)
