"""Builders that speak the domain: what has happened to an application or a batch, told in one line.

    an_application().submitted(jobs=2).started().attempted(1).applied(1)

A story is immutable, so a longer one may begin with a shorter one. It is a sequence of events; `recorded()` puts them
in a log, with metadata. What is not said is the same in every run: ids, times, titles.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from domain.application import Application
from domain.application_events import (
    ApplicationCancelled,
    ApplicationFailed,
    ApplicationSubmitted,
    ApplicationSucceeded,
    Delivery,
    DocumentsWritten,
    Failure,
    JobApplied,
    JobAttempted,
    JobFailed,
    JobWait,
    ProcessingStarted,
    Reopened,
    Requeued,
    RetryRequested,
    RetryScheduled,
)
from domain.batch import Batch, BatchCancelled, BatchSubmitted
from domain.event import Cause, Event, Metadata, Owner, RecordedEvent
from domain.job import CvReference, Documents, Job

APPLICATION_ID = UUID("01900000-0000-7000-8000-000000000001")
BATCH_ID = UUID("01900000-0000-7000-8000-00000000000b")
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
CV = CvReference(id="ada-cv", size=1_234, sha256="ab" * 32)
CAUSE = Cause("user:ada", "correlation-1", "request-1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

TITLES = ("Baker", "Miller", "Cook", "Waiter", "Butcher")


def a_job(title: str = "Baker", **fields: Any) -> Job:
    return Job.model_validate({"title": title, "portal": "sandbox", "company_name": "Crumb & Co", **fields})


def some_jobs(count: int) -> tuple[Job, ...]:
    return tuple(a_job(TITLES[n % len(TITLES)], id=f"job-{n + 1}") for n in range(count))


def documents_of(position: int, of_round: int = 1) -> Documents:
    letter = {"text": f"Letter {of_round} for {position}"}
    return Documents(resume_optimized={"round": of_round, "for": position}, cover_letter=letter)


@dataclass(frozen=True, slots=True)
class Story:
    """Events of one stream, and whom they concern."""

    id: UUID
    owner: Owner | None
    cause: Cause
    events: tuple[Event, ...] = ()

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def recorded(self, position: int = 1) -> Sequence[RecordedEvent]:
        """In a log in which the first of them got that position, one second after another."""
        return [
            RecordedEvent(self.id, version, event, self._metadata(version), position + version - 1)
            for version, event in enumerate(self.events, 1)
        ]

    def _metadata(self, version: int) -> Metadata:
        event_id = UUID(int=self.id.int + (version << 64))
        begun = self.owner.submitted_at if self.owner else START
        return Metadata(event_id, begun + timedelta(seconds=version - 1), self.cause, self.owner)


@dataclass(frozen=True, slots=True)
class ApplicationStory(Story):
    """What has happened to one application, as its events tell it: nothing is checked against the rules."""

    @property
    def application(self) -> Application:
        return Application.fold(self.id, self.events)

    def then(self, *events: Event) -> "ApplicationStory":
        return replace(self, events=(*self.events, *events))

    def submitted(
        self, jobs: int | Sequence[Job] = 1, style: str | None = "modern", cv: CvReference | None = CV
    ) -> "ApplicationStory":
        given = some_jobs(jobs) if isinstance(jobs, int) else tuple(jobs)
        story = self.then(ApplicationSubmitted(jobs=given, style=style, cv=cv))
        return replace(story, owner=replace(story._owner, job_count=len(given)))

    def started(self) -> "ApplicationStory":
        before = self.application
        return self.then(ProcessingStarted(start=before.starts + 1, previous=before.status))

    def documented(self, position: int = 1) -> "ApplicationStory":
        current = self.application.jobs[position - 1].round
        documents = documents_of(position, current)
        return self.then(DocumentsWritten(position=position, round=current, documents=documents))

    def attempted(
        self, *positions: int, portal: str = "sandbox", delivery: Delivery = Delivery.AT_LEAST_ONCE
    ) -> "ApplicationStory":
        """Their attempts began, the first of each round with its documents."""
        story = self
        for position in positions or (1,):
            job = story.application.jobs[position - 1]
            story = story if job.documents else story.documented(position)
            start = story.application.starts
            story = story.then(
                JobAttempted(position=position, start=start, round=job.round, portal=portal, delivery=delivery)
            )
        return story

    def attempted_blind(self, *positions: int) -> "ApplicationStory":
        """Their attempts began at a portal that takes no idempotency key."""
        return self.attempted(*positions, portal="blind", delivery=Delivery.AT_MOST_ONCE)

    def applied(self, position: int = 1, reference: str | None = "SBX-1") -> "ApplicationStory":
        state = self.application.jobs[position - 1]
        return self.then(
            JobApplied(
                position=position,
                reference=reference,
                was_failed=state.failed is not None,
                job=state.job,
                documents=state.documents or Documents(),
            )
        )

    def refused(self, position: int = 1, reason: str = "Position closed") -> "ApplicationStory":
        return self.job_failed(position, Failure.REFUSED, reason, "PortalRefusedError")

    def unknown(
        self, position: int = 1, reason: str = "no answer", error_type: str = "TimeoutError"
    ) -> "ApplicationStory":
        return self.job_failed(position, Failure.UNKNOWN, f"Outcome unknown: {reason}", error_type)

    def lost(self, position: int = 1) -> "ApplicationStory":
        """The next start found that its worker had died after sending it to a portal without keys."""
        return self.unknown(position, "the worker stopped before the portal's answer was recorded", "WorkerLostError")

    def exhausted(
        self, position: int = 1, reason: str = "503 Service Unavailable", error_type: str = "PortalBusyError"
    ) -> "ApplicationStory":
        return self.job_failed(position, Failure.EXHAUSTED, f"Max retries exceeded: {reason}", error_type)

    def job_failed(self, position: int, failure: Failure, reason: str, error_type: str) -> "ApplicationStory":
        state = self.application.jobs[position - 1]
        return self.then(
            JobFailed(
                position=position,
                failure=failure,
                reason=reason,
                error_type=error_type,
                job=state.job,
                documents=state.documents or Documents(),
            )
        )

    def retry_scheduled(
        self,
        *positions: int,
        due_at: datetime = START + timedelta(seconds=60),
        counted: bool = True,
        reason: str = "503 Service Unavailable",
        error_type: str = "PortalBusyError",
        resting_since: datetime | None = None,
    ) -> "ApplicationStory":
        """Those jobs wait; without positions all that are open."""
        before = self.application
        waits = tuple(
            JobWait(position=position, reason=reason, error_type=error_type, resting_since=resting_since)
            for position in positions or [position for position, _ in before.open_jobs]
        )
        return self.then(
            RetryScheduled(
                start=before.starts,
                retry=before.retries_used + 1,
                counted=counted,
                due_at=due_at,
                waiting=waits,
                brief=before.brief,
            )
        )

    def given_back(self, *positions: int, due_at: datetime = START + timedelta(seconds=60)) -> "ApplicationStory":
        return self.retry_scheduled(
            *positions, due_at=due_at, counted=False, reason="The worker stops", error_type="CancelledError"
        )

    def succeeded(self) -> "ApplicationStory":
        return self.then(ApplicationSucceeded(previous=self.application.status))

    def failed(self, attempts: int | None = None) -> "ApplicationStory":
        """It ended with the reason of its first failed job."""
        before = self.application
        [first, *_] = [job.failed for job in before.jobs if job.failed]
        return self.then(
            ApplicationFailed(
                reason=first.reason,
                error_type=first.error_type,
                attempts=before.retries_used + 1 if attempts is None else attempts,
                queued_version=before.queued_version,
                brief=before.brief,
            )
        )

    def retried(self) -> "ApplicationStory":
        before = self.application
        failed = [(position, job.job.portal) for position, job in enumerate(before.jobs, 1) if job.failed]
        reopened = tuple(Reopened(position=position, portal=portal) for position, portal in failed)
        return self.then(RetryRequested(reopened=reopened, brief=before.brief))

    def requeued(self, reason: str = "Its message seems to be lost") -> "ApplicationStory":
        return self.then(Requeued(reason=reason, brief=self.application.brief))

    def cancelled(self) -> "ApplicationStory":
        return self.then(ApplicationCancelled(reason="Cancelled by user"))

    @property
    def _owner(self) -> Owner:
        assert self.owner is not None
        return self.owner


@dataclass(frozen=True, slots=True)
class BatchStory(Story):
    """What has happened to one batch itself; its items have stories of their own."""

    items: tuple[ApplicationStory, ...] = field(default=())

    @property
    def batch(self) -> Batch:
        return Batch.fold(self.id, self.events)

    def submitted(self) -> "BatchStory":
        event = BatchSubmitted(application_ids=tuple(item.id for item in self.items))
        return replace(self, events=(*self.events, event))

    def cancelled(self, *pending: UUID, retries: int = 0) -> "BatchStory":
        return replace(self, events=(*self.events, BatchCancelled(cancelled=pending, retries=retries)))


def an_application(
    id: UUID = APPLICATION_ID, user: str = "ada", at: datetime = START, cause: Cause = CAUSE
) -> ApplicationStory:
    """An application of which nothing has happened yet."""
    return ApplicationStory(id, Owner(user, 1, at), cause)


def some_applications(count: int, user: str = "ada") -> tuple[ApplicationStory, ...]:
    """Submitted applications with ids of their own, each a minute after the one before."""
    return tuple(
        an_application(UUID(int=APPLICATION_ID.int + n), user, START + timedelta(minutes=n)).submitted()
        for n in range(count)
    )


def a_batch(items: int = 3, user: str = "ada", id: UUID = BATCH_ID) -> BatchStory:
    """A batch with its items submitted; `owner` of each item names its place in it."""
    applications = tuple(
        replace(item, owner=replace(item._owner, submitted_at=START, batch_id=id, batch_index=index))
        for index, item in enumerate(some_applications(items, user))
    )
    jobs = sum(item._owner.job_count for item in applications)
    return BatchStory(id, Owner(user, jobs, START, id), CAUSE, items=applications).submitted()
