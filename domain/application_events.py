"""What can happen to an application: its events, oldest concepts first, and the words that they use.

Each event says enough for a reader of it alone: what queues work carries a Brief, a result carries its job and
documents, a change of status that could come from two carries the previous one.
"""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from domain.event import Event
from domain.job import CvReference, Documents, Job


class Status(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Failure(StrEnum):
    """Why a job failed for good."""

    REFUSED = "refused"  # the portal said no: a retry is a new round, with a new key
    EXHAUSTED = "exhausted"  # it never took the job: a retry keeps its key
    UNKNOWN = "unknown"  # it may have the job: a retry keeps its key, and a late `applied` still counts


class Delivery(StrEnum):
    """Whether a portal honours an idempotency key (contract portals.md 1)."""

    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"


class Brief(BaseModel):
    """What a processing message says of an application: in each event that queues it (contract messaging.md 3)."""

    model_config = ConfigDict(frozen=True)

    cv_id: str | None = None
    style: str | None = None


class JobWait(BaseModel):
    """A job that goes on waiting, why, and since when what it needs, portal or log, cannot be reached."""

    model_config = ConfigDict(frozen=True)

    position: int
    reason: str
    error_type: str
    resting_since: datetime | None = None


class Reopened(BaseModel):
    """A failed job that a retry opens again."""

    model_config = ConfigDict(frozen=True)

    position: int
    portal: str | None = None


class ApplicationSubmitted(Event, name="application.submitted"):
    jobs: tuple[Job, ...]
    style: str | None = None
    cv: CvReference | None = None


class ProcessingStarted(Event, name="application.processing_started"):
    start: int  # counts the starts of its whole life, from 1: the fence
    previous: Status


class DocumentsWritten(Event, name="application.documents_written"):
    position: int
    round: int
    documents: Documents


class JobAttempted(Event, name="application.job_attempted"):
    position: int
    start: int
    round: int
    portal: str
    delivery: Delivery


class JobApplied(Event, name="application.job_applied"):
    position: int
    reference: str | None
    was_failed: bool  # it was listed as failed until now
    job: Job
    documents: Documents


class JobFailed(Event, name="application.job_failed"):
    position: int
    failure: Failure
    reason: str
    error_type: str
    job: Job
    documents: Documents


class RetryScheduled(Event, name="application.retry_scheduled"):
    start: int
    retry: int  # number of this retry since the last RetryRequested, from 1; the same again if not counted
    counted: bool
    due_at: datetime
    waiting: tuple[JobWait, ...]
    brief: Brief


class ApplicationSucceeded(Event, name="application.succeeded"):
    previous: Status


class ApplicationFailed(Event, name="application.failed"):
    reason: str
    error_type: str
    attempts: int
    queued_version: int  # version of the event that queued it last
    brief: Brief


class RetryRequested(Event, name="application.retry_requested"):
    reopened: tuple[Reopened, ...]
    brief: Brief


class Requeued(Event, name="application.requeued"):
    reason: str
    brief: Brief


class ApplicationCancelled(Event, name="application.cancelled"):
    reason: str
