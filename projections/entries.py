"""An entry of the lists: one job that was applied or failed, as `applied` and `failed` keep it (contract http.md 4, 5).

Its `order` is one string, so that a page is one range of an index: the time of the submission in milliseconds, the
application, and the job's place counted down. Sorted backwards it gives the newest submission first, and the jobs of
one application in their order. Names are kept a second time with their case folded, for the filters.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from pymongo import ASCENDING, DESCENDING, IndexModel

from domain.application import entry_id
from domain.application_events import JobApplied, JobFailed
from domain.event import RecordedEvent
from domain.job import Job
from projections.read_model import Document

INDEXES: Sequence[IndexModel] = [
    IndexModel([("user_id", ASCENDING), ("order", DESCENDING)], name="user"),
    IndexModel([("user_id", ASCENDING), ("portal_folded", ASCENDING), ("order", DESCENDING)], name="user_portal"),
]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
LAST_POSITION = 999_999


def entry_key(recorded: RecordedEvent, position: int) -> str:
    """Id of the entry of a job of the event's application."""
    return entry_id(recorded.stream_id, recorded.owner.job_count, position)


def applied_entry(recorded: RecordedEvent, event: JobApplied) -> Document:
    entry = _entry(recorded, event)
    return entry | {"status": "success", "applied_at": recorded.metadata.at, "error_reason": None}


def failed_entry(recorded: RecordedEvent, event: JobFailed) -> Document:
    return _entry(recorded, event) | {"status": "failed", "applied_at": None, "error_reason": event.reason}


def folded(text: str | None) -> str | None:
    """A text as it is compared: case is ignored."""
    return None if text is None else text.casefold()


def order_of(submitted_at: datetime, application_id: UUID, position: int) -> str:
    return f"{order_from(submitted_at)}{application_id.hex}{LAST_POSITION - position:06}"


def order_from(at: datetime) -> str:
    """The lowest order of what was submitted at that time or later: it is before the order of all of them."""
    return f"{-((EPOCH - at) // MILLISECOND):012x}"  # a part of a millisecond counts as the next one


def order_beyond(at: datetime) -> str:
    """The lowest order of what was submitted after that time."""
    return f"{(at - EPOCH) // MILLISECOND + 1:012x}"


def _entry(recorded: RecordedEvent, event: JobApplied | JobFailed) -> Document:
    owner, job, position = recorded.owner, event.job, event.position
    key = entry_key(recorded, position)
    return {
        "_id": key,
        "app_id": key,
        "application_id": recorded.stream_id.hex,
        "user_id": owner.user_id,
        "position": position,
        "order": order_of(owner.submitted_at, recorded.stream_id, position),
        "created_at": owner.submitted_at,
        **_fields(job),
        "portal_folded": folded(job.portal),
        "company_folded": folded(job.company_name),
        "title_folded": folded(job.title),
        "resume_optimized": event.documents.resume_optimized,
        "cover_letter": event.documents.cover_letter,
    }


def _fields(job: Job) -> Document:
    skills = None if job.skills_required is None else list(job.skills_required)
    return {name: getattr(job, name) for name in Job.model_fields} | {"skills_required": skills}
