"""GET /applications: a user's applications, page by page, with the names of their jobs (contract http.md 15).

A job that has no result of its own yet is where its application is: pending, processing or cancelled.
"""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, Field

from api.applications import StatusView
from api.errors import ValidationFailed
from api.ids import AppId
from api.keys import AT_LEAST, CLAIMS, QUERIES
from api.operations import Answer, Operations
from api.pages import PageOf, Pagination, read_page
from api.parameters import PortalFilter
from domain.application import entry_id
from domain.application_events import Status
from projections.queries import ApplicationFilters

operations = Operations("Applications")


class ApplicationsQuery(PageOf):
    """Filters combine with AND; those of jobs find the applications of which one job matches them all."""

    status: Annotated[Status, Field(description="In which they stand")] | None = None
    portal: PortalFilter | None = None
    company_name: Annotated[str, Field(description="A part of it, in any case")] | None = None
    title: Annotated[str, Field(description="A part of it, in any case")] | None = None

    @property
    def filters(self) -> ApplicationFilters:
        return ApplicationFilters(self.status, self.portal, self.company_name, self.title)


class JobSummary(BaseModel):
    """One job, as it is called, and where it stands."""

    app_id: AppId
    title: str | None
    company_name: str | None
    portal: str | None
    status: Status


class ApplicationView(StatusView):
    """Where one application stands, with its first 20 jobs."""

    jobs: list[JobSummary]


class ApplicationsView(BaseModel):
    """The newest first."""

    data: list[ApplicationView]
    pagination: Pagination


@operations.get(
    "/applications", answers=ApplicationsView, query=ApplicationsQuery, errors=(ValidationFailed,), reads=True
)
async def list_applications(request: web.Request, query: ApplicationsQuery) -> Answer[ApplicationsView]:
    """The caller's applications."""
    reading = request.app[QUERIES].applications(
        request[CLAIMS].user_id, query.filters, query.limit, query.cursor, request[AT_LEAST]
    )
    page, pagination = await read_page(query, reading)
    data = [_view(document) for document in page.entries]
    return Answer(ApplicationsView(data=data, pagination=pagination), page.position)


def _view(document: Mapping[str, Any]) -> ApplicationView:
    id, job_count = UUID(document["application_id"]), document["job_count"]
    summaries = [
        {"app_id": entry_id(id, job_count, position), **job, "status": result or document["status"]}
        for position, (job, result) in enumerate(zip(document["jobs"], document["results"], strict=True), 1)
    ]
    return ApplicationView.model_validate({**document, "jobs": summaries})
