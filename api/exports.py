"""/export: all of a user's entries as a file (contract http.md 8)."""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator
from typing import IO, Annotated

from aiohttp import hdrs, web
from pydantic import BaseModel, Field

from api.errors import ValidationFailed
from api.export_csv import csv_of
from api.keys import AT_LEAST, CLAIMS, CLOCK, FIRST_BYTE_AT, QUERIES
from api.operations import Answer, Media, Operations
from api.parameters import Begin, Boolean, End, PortalFilter, Query
from api.positions import POSITION_HEADER
from projections.queries import Answer as Found
from projections.queries import EntryList, Export, Filters

logger = logging.getLogger(__name__)

operations = Operations("Exports")

CSV = "text/csv; charset=utf-8"
CHUNK_BYTES = 256 * 1024


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


@operations.get("/export/csv", answers=Media(CSV, file=True), query=CsvQuery, errors=(ValidationFailed,), reads=True)
async def get_csv(request: web.Request, query: CsvQuery) -> web.StreamResponse:
    """The caller's entries as CSV. `stream=true` sends it as it is made, and needs no room for it on the server."""
    found = await request.app[QUERIES].export(request[CLAIMS].user_id, query.filters, query.kinds, request[AT_LEAST])
    headers = _headers(request, found, CSV, "csv")
    return await (_streamed if query.stream else _whole)(request, csv_of(found.value), headers)


def _headers(request: web.Request, found: Found[Export], content_type: str, ending: str) -> dict[str, str]:
    name = f"applications_{request.app[CLOCK].now():%Y%m%d_%H%M%S}.{ending}"
    return {
        hdrs.CONTENT_TYPE: content_type,
        hdrs.CONTENT_DISPOSITION: f"attachment; filename={name}",
        POSITION_HEADER: str(found.position),
    }


async def _streamed(request: web.Request, content: AsyncIterator[bytes], headers: dict[str, str]) -> web.StreamResponse:
    first = await anext(content)  # what fails until here is answered as any error
    return await _sent(request, web.StreamResponse(headers=headers), first, content)


async def _whole(request: web.Request, content: AsyncIterator[bytes], headers: dict[str, str]) -> web.StreamResponse:
    """Its length comes before it, so it is made on the disk first."""
    with await asyncio.to_thread(tempfile.TemporaryFile) as file:
        length = 0
        async for chunk in content:
            length += await asyncio.to_thread(file.write, chunk)
        response = web.StreamResponse(headers=headers)
        response.content_length = length
        await asyncio.to_thread(file.seek, 0)
        return await _sent(request, response, b"", _chunks(file))


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
        yield chunk


async def _sent(
    request: web.Request, response: web.StreamResponse, first: bytes, content: AsyncIterator[bytes]
) -> web.StreamResponse:
    """A failure after the first byte breaks the connection off: a file that ends cleanly is whole."""
    try:
        await response.prepare(request)
        request[FIRST_BYTE_AT] = asyncio.get_running_loop().time()
        if request.method != hdrs.METH_HEAD:
            await response.write(first)
            async for chunk in content:
                await response.write(chunk)
        await response.write_eof()
    except Exception as error:
        if request.transport is not None:
            request.transport.abort()
        if not isinstance(error, ConnectionError):
            logger.exception("export broken off", extra={"event_type": "export_broken_off"})
        raise ConnectionResetError("the export was broken off") from error
    return response
