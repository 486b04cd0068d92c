"""/projections: how far the read models are, for operators (contract http.md 15).

Measured against the log's head, which is read after them: so what is behind is never told as less than it is.
"""

import asyncio

from aiohttp import web
from pydantic import BaseModel

from api.admin import check_admin
from api.keys import CLOCK, EVENT_LOG, QUERIES
from api.lag import age_after
from api.operations import Answer, Operations
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


@operations.get("/projections", answers=ProjectionsView, errors=(InsufficientPermissions,))
async def list_projections(request: web.Request) -> Answer[ProjectionsView]:
    """How far each read model is behind the log."""
    check_admin(request)
    standings = await request.app[QUERIES].standings()
    head = await request.app[EVENT_LOG].head()
    views = await asyncio.gather(*(_view(request, standing, head) for standing in standings))
    return Answer(ProjectionsView(data=list(views)))


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
