"""/projections: how far the read models are, and what is parked in them, for operators (contract http.md 15).

The lag is measured against the log's head, which is read after them: so what is behind is never told as less than it
is.
"""

import asyncio
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field

from api.admin import check_admin
from api.errors import ValidationFailed
from api.keys import CLOCK, EVENT_LOG, QUERIES
from api.lag import age_after
from api.operations import Answer, Operations
from api.pages import PageOf, Pagination, read_page
from domain.errors import InsufficientPermissions
from projections.queries import Standing, State

operations = Operations("Read models")


class ProjectionView(BaseModel):
    """`version` is that of its documents' schema; `parked` counts the streams that wait for an operator.

    `state`: running; building (not read yet); waiting (no process projects it); stopped (it cannot go on).
    """

    name: str
    version: int
    position: int
    lag_events: int
    lag_seconds: float
    parked: int
    state: State


class ProjectionsView(BaseModel):
    """One for each read model of this release."""

    data: list[ProjectionView]


@operations.get("/projections", answers=ProjectionsView, errors=(InsufficientPermissions,), admits=check_admin)
async def list_projections(request: web.Request) -> Answer[ProjectionsView]:
    """How far each read model is behind the log."""
    standings = await request.app[QUERIES].standings()
    head = await request.app[EVENT_LOG].head()
    views = await asyncio.gather(*(_view(request, standing, head) for standing in standings))
    return Answer(ProjectionsView(data=list(views)))


class Projection(StrEnum):
    """The read models."""

    STATUS = "status"
    APPLIED = "applied"
    FAILED = "failed"
    BATCHES = "batches"
    TOTALS = "totals"
    UPDATES = "updates"


class ParkedQuery(PageOf):
    """Which read model's; all if none is named."""

    projection: Annotated[Projection, Field(description="Of this read model alone")] | None = None


class ParkedView(BaseModel):
    """A stream that waits for an operator in a read model, at an event that this cannot take.

    `group` is the same for alike errors; `waiting` counts the later events of the stream; `first_at`: when the event
    happened.
    """

    projection: Projection
    stream: str
    position: int
    event_type: str
    error: str
    group: str
    waiting: int
    first_at: datetime


class ParkedStreamsView(BaseModel):
    """The newest first."""

    data: list[ParkedView]
    pagination: Pagination


@operations.get(
    "/projections/parked",
    answers=ParkedStreamsView,
    query=ParkedQuery,
    errors=(InsufficientPermissions, ValidationFailed),
    admits=check_admin,
)
async def list_parked(request: web.Request, query: ParkedQuery) -> Answer[ParkedStreamsView]:
    """The streams that wait for an operator. `app-manager projections parked` decides on them."""
    projection = query.projection.value if query.projection else None
    page, pagination = await read_page(query, request.app[QUERIES].parked(projection, query.limit, query.cursor))
    return Answer(
        ParkedStreamsView(data=[ParkedView.model_validate(one) for one in page.entries], pagination=pagination)
    )


async def _view(request: web.Request, standing: Standing, head: int) -> ProjectionView:
    behind = max(0, head - standing.position)
    seconds = await age_after(request.app[EVENT_LOG], standing.position, request.app[CLOCK]) if behind else 0.0
    return ProjectionView(
        name=standing.name,
        version=standing.version,
        position=standing.position,
        lag_events=behind,
        lag_seconds=round(seconds, 3),
        parked=standing.parked,
        state=standing.state,
    )
