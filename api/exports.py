"""/export: all of a user's entries as a file (contract http.md 8)."""

from typing import Annotated

from aiohttp import hdrs, web
from pydantic import BaseModel, Field

from api.admission import DOWNLOADS
from api.downloads import send_as_made, send_file, while_wanted, written
from api.errors import ValidationFailed
from api.excel_builds import EXCEL_BUILDS, TooMuchForExcel
from api.export_csv import csv_of
from api.export_rows import pages_of
from api.keys import AT_LEAST, CLAIMS, CLOCK, QUERIES, SETTINGS
from api.operations import Answer, Media, Operations
from api.parameters import Begin, Boolean, End, PortalFilter, Query
from api.positions import POSITION_HEADER
from domain.errors import Overloaded
from projections.queries import Answer as Found
from projections.queries import EntryList, Export, Filters

operations = Operations("Exports")

CSV = "text/csv; charset=utf-8"
EXCEL = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class SummaryView(BaseModel):
    """Entries, not submissions."""

    total_applications: int
    successful_applications: int
    failed_applications: int
    available_portals: list[str]
    export_formats: list[str] = ["csv", "excel"]


class ExportQuery(Query):
    include_successful: Annotated[Boolean, Field(description="With the jobs that were applied")] = True
    include_failed: Annotated[Boolean, Field(description="With the jobs that failed")] = True
    portal: PortalFilter | None = None
    date_from: Begin | None = None
    date_to: End | None = None

    @property
    def filters(self) -> Filters:
        return Filters(portal=self.portal, date_from=self.date_from, date_to=self.date_to)

    @property
    def kinds(self) -> list[EntryList]:
        """The successful ones first."""
        wanted = {EntryList.APPLIED: self.include_successful, EntryList.FAILED: self.include_failed}
        return [kind for kind, is_wanted in wanted.items() if is_wanted]


class CsvQuery(ExportQuery):
    stream: Annotated[Boolean, Field(description="Sent as it is made, without a `Content-Length`")] = False


@operations.get("/export/summary", answers=SummaryView, reads=True)
async def get_summary(request: web.Request) -> Answer[SummaryView]:
    """How much there is to export."""
    found = await request.app[QUERIES].export_summary(request[CLAIMS].user_id, request[AT_LEAST])
    told = found.value
    view = SummaryView(
        total_applications=told.successful + told.failed,
        successful_applications=told.successful,
        failed_applications=told.failed,
        available_portals=list(told.portals),
    )
    return Answer(view, found.position)


@operations.get(
    "/export/csv",
    answers=Media(CSV, file=True),
    query=CsvQuery,
    errors=(ValidationFailed, Overloaded),
    reads=True,
)
async def get_csv(request: web.Request, query: CsvQuery) -> web.StreamResponse:
    """The caller's entries as CSV. `stream=true` sends it as it is made, and needs no room for it on the server."""
    with request.app[DOWNLOADS].place(request[CLAIMS].user_id):
        found = await _export(request, query)
        headers, content = _headers(request, found, CSV, "csv"), csv_of(pages_of(found.value))
        if query.stream:
            return await send_as_made(request, headers, content)
        with await while_wanted(request, written(content)) as file:
            return await send_file(request, headers, file)


@operations.get(
    "/export/excel",
    answers=Media(EXCEL, file=True),
    query=ExportQuery,
    errors=(ValidationFailed, Overloaded),
    reads=True,
)
async def get_excel(request: web.Request, query: ExportQuery) -> web.StreamResponse:
    """The caller's entries as an Excel file, up to EXPORT_EXCEL_MAX_ROWS."""
    with request.app[DOWNLOADS].place(request[CLAIMS].user_id):
        return await _excel(request, query)


async def _excel(request: web.Request, query: ExportQuery) -> web.StreamResponse:
    found, most = await _export(request, query), request.app[SETTINGS].export_excel_max_rows
    headers = _headers(request, found, EXCEL, "xlsx")
    if await found.value.count(most) > most:
        raise _too_much_for_excel(f"There are more than {most:,} rows")
    if request.method == hdrs.METH_HEAD:
        return web.StreamResponse(headers=headers)
    try:
        built = request.app[EXCEL_BUILDS].build(pages_of(found.value), most)
        with await while_wanted(request, built) as file:
            return await send_file(request, headers, file)
    except TooMuchForExcel:
        raise _too_much_for_excel("The rows have become too many, or are too long") from None


async def _export(request: web.Request, query: ExportQuery) -> Found[Export]:
    return await request.app[QUERIES].export(request[CLAIMS].user_id, query.filters, query.kinds, request[AT_LEAST])


def _headers(request: web.Request, found: Found[Export], content_type: str, ending: str) -> dict[str, str]:
    name = f"applications_{request.app[CLOCK].now():%Y%m%d_%H%M%S}.{ending}"
    return {
        hdrs.CONTENT_TYPE: content_type,
        hdrs.CONTENT_DISPOSITION: f"attachment; filename={name}",
        POSITION_HEADER: str(found.position),
    }


def _too_much_for_excel(what: str) -> ValidationFailed:
    return ValidationFailed(f"{what} for an Excel file: narrow it down, or take /export/csv?stream=true")
