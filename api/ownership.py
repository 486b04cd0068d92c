"""Whose application an id means: another user's answers like an unknown one (contract http.md 1.1).

The log is asked when the read model does not have an application yet, so that a submission can be followed, and is
known as its user's own, at once after its 200.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from aiohttp import web

from api.keys import AT_LEAST, CLAIMS, EVENT_LOG, PAST, QUERIES
from domain.errors import ApplicationNotFound, JobNotFound, ReadModelBehind
from domain.event import RecordedEvent
from projections.queries import Answer, fold_status

ENTRY_ID = re.compile(r"([0-9a-f]{32})(?:-([1-9][0-9]{0,5}))?")

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EntryId:
    """`<application_id>`, or `<application_id>-<n>` for the job in place `n` of several."""

    text: str
    application_id: UUID
    position: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ApplicationNotFound for what was never an id of ours."""
        found = ENTRY_ID.fullmatch(text)
        if found is None:
            raise ApplicationNotFound(text)
        return cls(text, UUID(found[1]), int(found[2]) if found[2] else None)

    def check_job(self, job_count: int) -> None:
        """Raises JobNotFound if the application has no such job, ApplicationNotFound if that job's id is another."""
        if self.position is None:
            return
        if self.position > job_count:
            raise JobNotFound(f"Application {self.application_id.hex} has no job {self.position}")
        if job_count == 1:
            raise ApplicationNotFound(self.text)


async def find_status(request: web.Request, id: EntryId) -> Answer[Document]:
    """The status document of the caller's application, with the position that it reflects.

    Raises ApplicationNotFound for an unknown application and for another user's, JobNotFound as `check_job` does.
    """
    found = await _projected(request, id.application_id)
    document, position = (found.value, found.position) if found else (None, 0)
    if document is None:
        recorded = _up_to(found, await request.app[EVENT_LOG].read_stream(id.application_id))
        document = fold_status(recorded)
        position = recorded[-1].position if recorded else 0
    if document is None or document["user_id"] != request[CLAIMS].user_id:
        raise ApplicationNotFound(id.text)
    id.check_job(document["job_count"])
    return Answer(document, position)


async def find_status_at(request: web.Request, id: EntryId, position: int) -> Answer[Document]:
    """As it was at that position. Raises as `find_status` does, also for what did not exist yet."""
    document = await request.app[PAST].status(id.application_id, position)
    if document is None or document["user_id"] != request[CLAIMS].user_id:
        raise ApplicationNotFound(id.text)
    id.check_job(document["job_count"])
    return Answer(document, position)


def _up_to(found: Answer[Document | None] | None, recorded: Sequence[RecordedEvent]) -> Sequence[RecordedEvent]:
    """What may be told while the read model lacks the application: its submission, and no more than the model has.

    The next read may come from the read model: told more now, the status would go back then (contract http.md 1.9).
    """
    if found is None:
        return recorded
    return [one for one in recorded if one.version == 1 or one.position <= found.position]


async def _projected(request: web.Request, application_id: UUID) -> Answer[Document | None] | None:
    """From the read model. None while it is being built: then the log answers all that names no position."""
    try:
        return await request.app[QUERIES].status(application_id.hex, request[AT_LEAST])
    except ReadModelBehind:
        if request[AT_LEAST]:
            raise
        return None
