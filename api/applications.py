"""/applications: submit an application, and follow it (contract http.md 2, 3)."""

from datetime import datetime
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field

from api.cv_upload import store_cv
from api.errors import SUBMISSION_ERRORS, ValidationFailed
from api.form_fields import Holds, Json, Pdf, Style
from api.forms import Form
from api.idempotency import guard_of
from api.ids import ApplicationId, StatusUrl
from api.jobs import JobsDocument, parse_jobs
from api.keys import CLAIMS, COMMANDS, CORRELATION_ID, SETTINGS
from api.operations import Answer, Bucket, Operations
from api.ownership import EntryId, find_status, find_status_at
from api.rate_limits import applications_counted
from api.time_travel import Past, position_of
from domain.application_events import Status
from domain.commands import Submitted
from domain.errors import ApplicationNotFound, JobNotFound
from domain.event import Cause
from infra import metrics, tracing

operations = Operations("Applications")


class SubmissionForm(Form):
    """What an application is made of."""

    jobs: Annotated[Json, Holds(JobsDocument)] = Field(description='`{"jobs": [job, ...]}`')
    style: Style | None = None
    cv: Pdf | None = Field(None, description="From which the documents are written")


class SubmittedView(BaseModel):
    """An application that is stored, and will be processed."""

    application_id: ApplicationId
    status: Status
    status_url: StatusUrl
    job_count: int
    created_at: datetime


class StatusView(BaseModel):
    """Where one application stands."""

    application_id: ApplicationId
    status: Status
    created_at: datetime
    updated_at: datetime
    processed_at: datetime | None
    job_count: int
    error_reason: str | None


@operations.post(
    "/applications",
    answers=SubmittedView,
    form=SubmissionForm,
    errors=SUBMISSION_ERRORS,
    bucket=Bucket.APPLICATIONS,
    writes=True,
)
async def submit(request: web.Request, form: SubmissionForm) -> Answer[SubmittedView]:
    """A new application. Once this answers 200 it is durable, with its CV, and will be processed."""
    app, user_id = request.app, request[CLAIMS].user_id
    jobs = parse_jobs(form.jobs, app[SETTINGS].max_jobs_per_application)
    cause = Cause(f"user:{user_id}", request[CORRELATION_ID], traceparent=tracing.traceparent())
    guard = guard_of(request, _submitted_view)
    async with applications_counted(request, 1):
        cv = await store_cv(request, form.cv) if form.cv else None
        submitted = await app[COMMANDS].submit(user_id, jobs, form.style, cv, cause, guard)
    metrics.APPLICATIONS_SUBMITTED_TOTAL.inc(user_type="authenticated")
    metrics.APPLICATION_JOBS_COUNT.observe(len(jobs))
    return Answer(_submitted_view(submitted), submitted.position)


@operations.get(
    "/applications/{application_id}/status",
    answers=StatusView,
    query=Past,
    errors=(ApplicationNotFound, JobNotFound, ValidationFailed),
    reads=True,
)
async def get_status(request: web.Request, query: Past) -> Answer[StatusView]:
    """Where one of the caller's applications stands. Its entries' ids are accepted too."""
    id = EntryId.parse(request.match_info["application_id"])
    if query.as_of is None:
        found = await find_status(request, id)
    else:
        found = await find_status_at(request, id, await position_of(request, query.as_of))
    return Answer(StatusView.model_validate(found.value), found.position)


def _submitted_view(submitted: Submitted) -> SubmittedView:
    id = submitted.application_id.hex
    return SubmittedView(
        application_id=id,
        status=Status.PENDING,
        status_url=f"/applications/{id}/status",
        job_count=submitted.job_count,
        created_at=submitted.created_at,
    )
