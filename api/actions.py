"""Retry and cancel: what a user does about one of his applications (contract http.md 6)."""

from aiohttp import web
from pydantic import BaseModel

from api.errors import ValidationFailed
from api.idempotency import guard_of
from api.ids import ApplicationId, StatusUrl
from api.keys import CLAIMS, COMMANDS, CORRELATION_ID
from api.operations import Answer, Operations
from api.ownership import EntryId
from domain.application_events import Status
from domain.commands import Loaded
from domain.errors import (
    ApplicationAlreadyProcessed,
    ApplicationNotFound,
    ApplicationState,
    DuplicateRequest,
    IdempotencyKeyReused,
    JobNotFound,
)
from domain.event import Cause
from infra import metrics, tracing

operations = Operations("Applications")


class RetriedView(BaseModel):
    """An application whose failed jobs will be tried again."""

    application_id: ApplicationId
    status: Status
    status_url: StatusUrl
    message: str


class CancelledView(BaseModel):
    """An application that was taken back."""

    application_id: ApplicationId
    status: Status
    message: str


STATE_ERRORS = (ApplicationNotFound, JobNotFound, ApplicationState, ApplicationAlreadyProcessed)


@operations.post(
    "/applications/{application_id}/retry",
    answers=RetriedView,
    errors=(*STATE_ERRORS, ValidationFailed, IdempotencyKeyReused, DuplicateRequest),
    writes=True,
)
async def retry(request: web.Request) -> Answer[RetriedView]:
    """Tries the failed jobs of a failed application again, with fresh attempts. Applied jobs stay as they are."""
    id = await _own(request)
    guard = guard_of(request, _retried_view)
    loaded = await request.app[COMMANDS].retry(request[CLAIMS].user_id, id.application_id, _cause(request), guard)
    return Answer(_retried_view(loaded), loaded.position)


@operations.delete("/applications/{application_id}", answers=CancelledView, errors=STATE_ERRORS, writes=True)
async def cancel(request: web.Request) -> Answer[CancelledView]:
    """Takes a pending application back: it is never processed, even if its message is queued already."""
    id = await _own(request)
    loaded = await request.app[COMMANDS].cancel(request[CLAIMS].user_id, id.application_id, _cause(request))
    metrics.APPLICATIONS_PROCESSED_TOTAL.inc(status=Status.CANCELLED.value)
    view = CancelledView(
        application_id=id.application_id.hex, status=Status.CANCELLED, message="The application was cancelled"
    )
    return Answer(view, loaded.position)


async def _own(request: web.Request) -> EntryId:
    """The application that the path names, by its own id or an entry's. Raises ApplicationNotFound, JobNotFound."""
    id = EntryId.parse(request.match_info["application_id"])
    loaded = await request.app[COMMANDS].find(request[CLAIMS].user_id, id.application_id)
    id.check_job(loaded.owner.job_count)
    return id


def _cause(request: web.Request) -> Cause:
    return Cause(f"user:{request[CLAIMS].user_id}", request[CORRELATION_ID], traceparent=tracing.traceparent())


def _retried_view(loaded: Loaded) -> RetriedView:
    id = loaded.application.id.hex
    return RetriedView(
        application_id=id,
        status=Status.PENDING,
        status_url=f"/applications/{id}/status",
        message="The failed jobs will be tried again",
    )
