"""/applications/{id}/events: an application's own history, as its user may see it (contract http.md 14).

It is read from the log, so it is never behind: a position that is asked for has been reached once it exists. Of who did
something, the user sees himself by name, and of workers and operators only that it was one.
"""

from datetime import datetime
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from api.ids import ApplicationId
from api.keys import CLAIMS, EVENT_LOG
from api.operations import Answer, Operations
from api.ownership import EntryId
from domain.errors import ApplicationNotFound, JobNotFound
from domain.event import RecordedEvent

operations = Operations("Applications")

HIDDEN = {"documents", "cv", "brief"}  # large, the CV's key, and what only the queue needs


class EventView(BaseModel):
    """One thing that happened. `version` counts from 1 in the application, `position` over all that the service has."""

    position: int
    version: int
    type: str
    occurred_at: datetime
    actor: str
    correlation_id: str | None
    data: dict[str, Any]


class EventsView(BaseModel):
    """The oldest first."""

    application_id: ApplicationId
    events: list[EventView]


@operations.get(
    "/applications/{application_id}/events",
    answers=EventsView,
    errors=(ApplicationNotFound, JobNotFound),
    reads=True,
)
async def list_events(request: web.Request) -> Answer[EventsView]:
    """All that happened to one of the caller's applications. Its entries' ids are accepted too."""
    id, user_id = EntryId.parse(request.match_info["application_id"]), request[CLAIMS].user_id
    recorded = await request.app[EVENT_LOG].read_stream(id.application_id)
    own = bool(recorded) and recorded[0].event.NAME.startswith("application.") and recorded[0].owner.user_id == user_id
    if not own:
        raise ApplicationNotFound(id.text)
    id.check_job(recorded[0].owner.job_count)
    events = [_view(one, user_id) for one in recorded]
    return Answer(EventsView(application_id=id.application_id.hex, events=events), recorded[-1].position)


def _view(recorded: RecordedEvent, user_id: str) -> EventView:
    cause = recorded.metadata.cause
    return EventView(
        position=recorded.position,
        version=recorded.version,
        type=recorded.event.NAME,
        occurred_at=recorded.metadata.at,
        actor=cause.actor if cause.actor == f"user:{user_id}" else cause.actor.partition(":")[0],
        correlation_id=cause.correlation_id,
        data=recorded.event.model_dump(mode="json", exclude=HIDDEN),
    )
