"""/batch/applications: many applications at once, and how far they are (contract http.md 7)."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, RootModel

from api.cv_upload import store_cv
from api.errors import SUBMISSION_ERRORS, InvalidJobData, Problem, RequestError, ValidationFailed, field_path
from api.form_fields import STYLE_MAX, Holds, Json, Pdf
from api.forms import Form
from api.idempotency import guard_of
from api.ids import ApplicationId, BatchId
from api.jobs import EXAMPLE, JobsDocument, check_jobs
from api.keys import AT_LEAST, BATCH_COMMANDS, CLAIMS, CORRELATION_ID, EVENT_LOG, QUERIES, SETTINGS
from api.operations import Answer, Bucket, Operations
from api.pages import PageOf, Pagination, read_page
from api.rate_limits import applications_counted
from domain.application_events import Status
from domain.batch import BatchStatus, BatchSubmitted, batch_status
from domain.batch_commands import Item, SubmittedBatch
from domain.errors import ApplicationAlreadyProcessed, BatchNotFound, ReadModelBehind
from domain.event import Cause
from infra import metrics, tracing
from projections.queries import Answer as Found
from projections.queries import fold_batch

operations = Operations("Batches")

ITEMS_MAX = 100
BATCH_ID = re.compile(r"[0-9a-f]{32}")


class ItemDocument(JobsDocument):
    """One application of a batch."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"jobs": [EXAMPLE], "style": "modern"}]})

    style: Annotated[str, Field(max_length=STYLE_MAX, examples=["modern"])] | None = None


class ItemsDocument(RootModel[Annotated[list[ItemDocument], Field(min_length=1, max_length=ITEMS_MAX)]]):
    """The applications of a batch."""


class BatchForm(Form):
    """What a batch is made of."""

    items: Annotated[Json, Holds(ItemsDocument)] = Field(
        description='`[{"jobs": [job, ...], "style": string or null}, ...]`'
    )
    cv: Pdf | None = Field(None, description="From which the documents are written")


class ItemView(BaseModel):
    """One application of a batch. `index` counts from 0."""

    index: int
    application_id: ApplicationId
    status: Status
    error: str | None


class SubmittedBatchView(BaseModel):
    """A batch that is stored; each of its applications will be processed."""

    batch_id: BatchId
    status: BatchStatus
    total: int
    results: list[ItemView]
    created_at: datetime


class BatchCounts(BaseModel):
    """`processed` are the items that have ended."""

    batch_id: BatchId
    status: BatchStatus
    total: int
    processed: int
    succeeded: int
    failed: int
    cancelled: int


class BatchView(BatchCounts):
    """How far a batch is, item by item."""

    results: list[ItemView]
    created_at: datetime
    completed_at: datetime | None


class BatchSummary(BatchCounts):
    """How far a batch is."""

    created_at: datetime
    completed_at: datetime | None


class BatchesView(BaseModel):
    """The newest first."""

    data: list[BatchSummary]
    pagination: Pagination


class CancelledBatchView(BaseModel):
    """`cancelled` counts the items that were taken back."""

    message: str
    batch_id: BatchId
    status: BatchStatus
    cancelled: int


@operations.post(
    "/batch/applications",
    answers=SubmittedBatchView,
    form=BatchForm,
    errors=(*SUBMISSION_ERRORS, RequestError),
    bucket=Bucket.APPLICATIONS,
    writes=True,
)
async def submit_batch(request: web.Request, form: BatchForm) -> Answer[SubmittedBatchView]:
    """Up to 100 new applications, all or none. Once this answers 200 they are durable, with the CV that they share."""
    items = parse_items(form.items, request.app[SETTINGS].max_jobs_per_application)
    guard = guard_of(request, _submitted_view)
    user_id = request[CLAIMS].user_id
    async with applications_counted(request, len(items)):
        cv = await store_cv(request, form.cv) if form.cv else None
        submitted = await request.app[BATCH_COMMANDS].submit(user_id, items, cv, _cause(request), guard)
    for item in items:
        metrics.APPLICATIONS_SUBMITTED_TOTAL.inc(user_type="authenticated")
        metrics.APPLICATION_JOBS_COUNT.observe(len(item.jobs))
    return Answer(_submitted_view(submitted), submitted.position)


@operations.get("/batch/applications", answers=BatchesView, query=PageOf, errors=(ValidationFailed,), reads=True)
async def list_batches(request: web.Request, query: PageOf) -> Answer[BatchesView]:
    """How far the caller's batches are."""
    reading = request.app[QUERIES].batches(request[CLAIMS].user_id, query.limit, query.cursor, request[AT_LEAST])
    page, pagination = await read_page(query, reading)
    data = [BatchSummary.model_validate(_summary(document)) for document in page.entries]
    return Answer(BatchesView(data=data, pagination=pagination), page.position)


@operations.get("/batch/applications/{batch_id}", answers=BatchView, errors=(BatchNotFound,), reads=True)
async def get_batch(request: web.Request) -> Answer[BatchView]:
    """How far one of the caller's batches is, item by item."""
    id = _batch_id(request)
    found = await _projected(request, id)
    document, position = (found.value, found.position) if found else (None, 0)
    if document is None:
        document, position = await _logged(request, id, whole=found is None)
    if document is None or document["user_id"] != request[CLAIMS].user_id:
        raise BatchNotFound(id.hex)
    return Answer(_view(document), position)


@operations.delete(
    "/batch/applications/{batch_id}",
    answers=CancelledBatchView,
    errors=(BatchNotFound, ApplicationAlreadyProcessed),
    writes=True,
)
async def cancel_batch(request: web.Request) -> Answer[CancelledBatchView]:
    """Takes back what is still pending of a batch. What is being processed runs to its end."""
    id = _batch_id(request)
    cancelled = await request.app[BATCH_COMMANDS].cancel(request[CLAIMS].user_id, id, _cause(request))
    for _ in range(cancelled.cancelled):
        metrics.APPLICATIONS_PROCESSED_TOTAL.inc(status=Status.CANCELLED.value)
    view = CancelledBatchView(
        message="What was pending was cancelled",
        batch_id=id.hex,
        status=BatchStatus.CANCELLED,
        cancelled=cancelled.cancelled,
    )
    return Answer(view, cancelled.position)


# -- what is sent -----------------------------------------------------------------------------------------------------


def parse_items(document: bytes, most_jobs: int) -> Sequence[Item]:
    """The items, all of them good. Raises RequestError (400), ValidationFailed or InvalidJobData (contract 1.7)."""
    try:
        items = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise _refused(RequestError, f"is not JSON: {error}", "items") from None
    if not isinstance(items, list) or not items:
        raise _refused(ValidationFailed, "should be an array of 1 to 100 items", "items")
    if len(items) > ITEMS_MAX:
        raise _refused(RequestError, f"should have {ITEMS_MAX} items at most, not {len(items)}", "items")
    return [_item(index, item, most_jobs) for index, item in enumerate(items)]


def _item(index: int, item: object, most_jobs: int) -> Item:
    if not isinstance(item, dict):
        raise _refused(InvalidJobData, 'should be an object {"jobs": [...], "style": ...}', "items", index)
    jobs = check_jobs(item.get("jobs"), most_jobs, "items", index, "jobs")
    style = item.get("style")
    if style is not None and not isinstance(style, str):
        raise _refused(InvalidJobData, "should be a string", "items", index, "style")
    if style and len(style) > STYLE_MAX:
        raise _refused(InvalidJobData, f"should have {STYLE_MAX} characters at most", "items", index, "style")
    return Item(jobs, style or None)


def _refused(kind: type[RequestError], why: str, *path: str | int) -> RequestError:
    problem = Problem(why, field_path(path))
    return kind(f"Bad batch: {problem.field} {why}", [problem])


def _batch_id(request: web.Request) -> UUID:
    """Raises BatchNotFound for what was never an id of ours."""
    text = request.match_info["batch_id"]
    if not BATCH_ID.fullmatch(text):
        raise BatchNotFound(text)
    return UUID(text)


def _cause(request: web.Request) -> Cause:
    return Cause(f"user:{request[CLAIMS].user_id}", request[CORRELATION_ID], traceparent=tracing.traceparent())


# -- what is told -----------------------------------------------------------------------------------------------------


async def _projected(request: web.Request, id: UUID) -> Found[Mapping[str, Any] | None] | None:
    """From the read model. None while it is being built: then the log answers all that names no position."""
    try:
        return await request.app[QUERIES].batch(id.hex, request[AT_LEAST])
    except ReadModelBehind:
        if request[AT_LEAST]:
            raise
        return None


async def _logged(request: web.Request, id: UUID, *, whole: bool) -> tuple[Mapping[str, Any] | None, int]:
    """From the log. Not `whole`: as it was submitted, as the read model will tell that first (`api/ownership.py`)."""
    log = request.app[EVENT_LOG]
    recorded = list(await log.read_stream(id))
    if not recorded or not isinstance(recorded[0].event, BatchSubmitted):
        return None, 0
    submitted = recorded[0]
    if whole:
        for application_id in recorded[0].event.application_ids:
            recorded += [one for one in await log.read_stream(application_id) if one.position > submitted.position]
    else:
        recorded = [submitted]
    recorded.sort(key=lambda one: one.position)
    return fold_batch(recorded), recorded[-1].position


def _view(document: Mapping[str, Any]) -> BatchView:
    results = [ItemView(index=index, **item) for index, item in enumerate(document["items"])]
    return BatchView.model_validate({**_summary(document), "results": results})


def _summary(document: Mapping[str, Any]) -> Mapping[str, Any]:
    counts = {status: document["counts"][status.value] for status in Status}
    there = [status for status, count in counts.items() if count]
    succeeded, failed, cancelled = (counts[one] for one in (Status.SUCCESS, Status.FAILED, Status.CANCELLED))
    return {
        "batch_id": document["batch_id"],
        "status": batch_status(there, started=document["started"]),
        "total": sum(counts.values()),
        "processed": succeeded + failed + cancelled,
        "succeeded": succeeded,
        "failed": failed,
        "cancelled": cancelled,
        "created_at": document["created_at"],
        "completed_at": document["completed_at"],
    }


def _submitted_view(submitted: SubmittedBatch) -> SubmittedBatchView:
    ids = submitted.application_ids
    return SubmittedBatchView(
        batch_id=submitted.batch_id.hex,
        status=BatchStatus.PENDING,
        total=len(ids),
        results=[
            ItemView(index=index, application_id=id.hex, status=Status.PENDING, error=None)
            for index, id in enumerate(ids)
        ],
        created_at=submitted.created_at,
    )
