"""One job application: its state, what may be asked of it, and what follows.

pending → processing → success | failed,  pending → cancelled,  failed → pending by a retry  (contract http.md 1.9)

A job's attempt has begun once its JobAttempted is in the log. It ends by JobApplied, JobFailed, or a RetryScheduled
that names the job; an attempt without an end is one whose worker died, so its outcome is unknown (design 7). A start is
over with its RetryScheduled, with the next start, and with the end of the application.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from uuid import UUID

from domain.application_events import (
    ApplicationCancelled,
    ApplicationFailed,
    ApplicationSubmitted,
    ApplicationSucceeded,
    Brief,
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
    Status,
)
from domain.errors import ApplicationAlreadyProcessed, ApplicationState, AttemptRefused
from domain.event import Event
from domain.job import CvReference, Documents, Job
from domain.retry import RESTING_LIMIT_SECONDS, RetryPolicy

CANCELLED_BY_USER = "Cancelled by user"


@dataclass(frozen=True, slots=True)
class JobState:
    """One job of an application. Open while neither applied nor failed."""

    job: Job
    round: int = 1
    applied: bool = False
    failed: JobFailed | None = None
    attempted: JobAttempted | None = None  # an attempt whose end is not in the log
    documents: Documents | None = None  # of this round
    resting_since: datetime | None = None
    doubtful: bool = False  # before its last retry by hand, in an attempt without an outcome, it may have been taken

    @property
    def open(self) -> bool:
        return not self.applied and self.failed is None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Why an open job has no end after a start: what a worker tells `Application.pause`."""

    position: int
    reason: str
    error_type: str
    counted: bool = True  # False: given back, it costs no attempt
    wait: float = 0.0  # seconds that it asks for at least
    rests: bool = False  # what it needs cannot be reached, its portal or the log: not for ever


@dataclass(frozen=True, slots=True)
class Application:
    """State of one application. A command gives the events that follow from it, or raises and changes nothing."""

    id: UUID
    version: int = 0
    status: Status = Status.PENDING
    starts: int = 0  # in its whole life; a retry does not reset it
    barren_starts: int = 0  # the last ones, each followed by neither a result nor a RetryScheduled
    paused: bool = False  # the newest start is over: its RetryScheduled waits for the next
    retries_used: int = 0  # counted ones since the last RetryRequested
    retries_requested: int = 0
    queued_version: int = 0  # of the event that queued it last
    failed_version: int = 0  # of the newest ApplicationFailed
    jobs: tuple[JobState, ...] = ()
    style: str | None = None
    cv: CvReference | None = None

    @classmethod
    def fold(cls, id: UUID, events: Iterable[Event]) -> "Application":
        return reduce(Application.after, events, cls(id))

    @property
    def ended(self) -> bool:
        return self.status in {Status.SUCCESS, Status.FAILED, Status.CANCELLED}

    @property
    def open_jobs(self) -> Sequence[tuple[int, JobState]]:
        """Jobs that wait for a result, with their positions from 1."""
        return [(position, job) for position, job in enumerate(self.jobs, 1) if job.open]

    @property
    def brief(self) -> Brief:
        return Brief(cv_id=self.cv.id if self.cv else None, style=self.style)

    def entry_id(self, position: int) -> str:
        """Key of a job in the lists (contract http.md 1.1)."""
        return entry_id(self.id, len(self.jobs), position)

    def submit(self, jobs: tuple[Job, ...], style: str | None, cv: CvReference | None) -> Sequence[Event]:
        if self.version:
            raise ApplicationState(f"Application {self.id.hex} has been submitted already")
        if not jobs:
            raise ValueError("an application holds one job at least")  # without one it would never end
        return [ApplicationSubmitted(jobs=jobs, style=style, cv=cv)]

    def start(self, policy: RetryPolicy) -> Sequence[Event]:
        """A worker that holds the claim begins, or takes over from one that died. No event once it has ended.

        What a dead worker sent to a portal without keys has an unknown outcome. What kills every worker fails.
        """
        if self.status not in {Status.PENDING, Status.PROCESSING} or not self.jobs:
            return []
        if self.barren_starts > policy.max_retries:
            return self._given_up_by_workers()
        started = ProcessingStarted(start=self.starts + 1, previous=self.status)
        lost = "the worker stopped before the portal's answer was recorded"
        return [
            started,
            *self.after(started)._with_failures(
                (p, unknown_outcome(lost, "WorkerLostError")) for p, job in self.open_jobs if _may_be_lost(job)
            ),
        ]

    def begin_attempt(
        self, position: int, start: int, portal: str, delivery: Delivery, documents: Documents
    ) -> Sequence[Event]:
        """Before a portal is called. `documents` count only when this round has none yet.

        Raises AttemptRefused once that start is over, the job has ended, or a portal without keys may have it already:
        then nothing may be sent.
        """
        job = self._job(position)
        if not self._runs(start) or not job.open:
            raise AttemptRefused(f"Attempt {start} of {self.entry_id(position)} is over")
        if _may_be_lost(job):
            raise AttemptRefused(f"{self.entry_id(position)} has been sent: only a person may send it again")
        attempted = JobAttempted(position=position, start=start, round=job.round, portal=portal, delivery=delivery)
        if job.documents is not None:
            return [attempted]
        return [DocumentsWritten(position=position, round=job.round, documents=documents), attempted]

    def record_applied(self, position: int, reference: str | None) -> Sequence[Event]:
        """A portal has the job. Counts in every status, even late: truth wins. No event after a definite end."""
        job = self._job(position)
        late = job.failed is not None and job.failed.failure is Failure.UNKNOWN
        if not job.open and not late:
            return []
        documents = job.documents or Documents()
        return self._with_ending(
            JobApplied(position=position, reference=reference, was_failed=late, job=job.job, documents=documents)
        )

    def record_failed(self, position: int, start: int, verdict: "Verdict") -> Sequence[Event]:
        """The job failed for good in this start. No event if it has ended, or if that start is over."""
        if not self._job(position).open or not self._runs(start):
            return []
        return self._with_failures([(position, verdict)])

    def pause(
        self, start: int, unfinished: Sequence[Unfinished], now: datetime, policy: RetryPolicy
    ) -> Sequence[Event]:
        """All open jobs have been tried, or are given back: try again later, or fail what has no attempt left.

        No event if that start is over. Several jobs wait for the longest delay among them (design 7). What is given
        back costs no attempt, so it is tried again even where another job used up the last.
        """
        waiting = [u for u in unfinished if self._job(u.position).open]
        if not self._runs(start):
            return []
        exhausted = self.retries_used >= policy.max_retries
        given_up = [u for u in waiting if (u.counted and exhausted) or self._rested_too_long(u, now)]
        events = self._with_failures((u.position, _exhausted(u)) for u in given_up)
        left = [u for u in waiting if u not in given_up]
        return [*events, self._retry_of(left, now, policy)] if left else events

    def cancel(self) -> Sequence[Event]:
        """The user takes it back while no worker has it (contract http.md 6.2)."""
        match self.status:
            case Status.PENDING:
                return [ApplicationCancelled(reason=CANCELLED_BY_USER)]
            case Status.PROCESSING:
                raise ApplicationState(f"Application {self.id.hex} is being processed")
            case _:
                raise ApplicationAlreadyProcessed(f"Application {self.id.hex} has ended as {self.status}")

    def retry(self) -> Sequence[Event]:
        """Its failed jobs are tried again; the applied ones stay as they are (contract http.md 6.1)."""
        match self.status:
            case Status.FAILED:
                failed = [(p, job.job.portal) for p, job in enumerate(self.jobs, 1) if job.failed]
                reopened = tuple(Reopened(position=p, portal=portal) for p, portal in failed)
                return [RetryRequested(reopened=reopened, brief=self.brief)]
            case Status.SUCCESS:
                raise ApplicationAlreadyProcessed(f"Application {self.id.hex} has ended as {self.status}")
            case _:
                raise ApplicationState(f"Application {self.id.hex} is {self.status}, only a failed one can be retried")

    def requeue(self, reason: str) -> Sequence[Event]:
        """Its message seems to be lost: queue it again. No event once it has ended (design 7)."""
        return [] if self.ended or not self.jobs else [Requeued(reason=reason, brief=self.brief)]

    def after(self, event: Event) -> "Application":  # noqa: PLR0911  one arm for each event
        """The state after an event. Never refuses: it has happened."""
        now = replace(self, version=self.version + 1)
        match event:
            case ApplicationSubmitted(jobs=jobs, style=style, cv=cv):
                states = tuple(JobState(job) for job in jobs)
                return replace(now, jobs=states, style=style, cv=cv, queued_version=now.version)
            case ProcessingStarted(start=start):
                barren = self.barren_starts + 1
                return replace(now, status=Status.PROCESSING, starts=start, barren_starts=barren, paused=False)
            case DocumentsWritten(position=position, documents=documents):
                return now._with_job(position, documents=documents)
            case JobAttempted(position=position):
                return now._with_job(position, attempted=event)
            case JobApplied(position=position):
                done = replace(now, barren_starts=0)
                return done._with_job(position, applied=True, failed=None, attempted=None)
            case JobFailed(position=position):
                return replace(now, barren_starts=0)._with_job(position, failed=event, attempted=None)
            case RetryScheduled(counted=counted):
                used = self.retries_used + counted
                queued = replace(now, barren_starts=0, paused=True, retries_used=used, queued_version=now.version)
                return reduce(_waiting_again, event.waiting, queued)
            case ApplicationSucceeded():
                return replace(now, status=Status.SUCCESS)
            case ApplicationFailed():
                return replace(now, status=Status.FAILED, failed_version=now.version)
            case RetryRequested():
                fresh = replace(now, retries_used=0, retries_requested=self.retries_requested + 1)
                reopened = tuple(map(_next_round, now.jobs))
                return replace(fresh, status=Status.PENDING, jobs=reopened, queued_version=now.version)
            case Requeued():
                return replace(now, queued_version=now.version)
            case ApplicationCancelled():
                return replace(now, status=Status.CANCELLED)
            case _:
                raise TypeError(f"not an event of an application: {event!r}")

    def _job(self, position: int) -> JobState:
        if self.starts == 0 or not 1 <= position <= len(self.jobs):
            raise ApplicationState(f"Application {self.id.hex} expects no result for job {position}")
        return self.jobs[position - 1]

    def _runs(self, start: int) -> bool:
        """Whether what a worker does under this start still counts."""
        return start == self.starts and self.status is Status.PROCESSING and not self.paused

    def _with_job(self, position: int, **changes: object) -> "Application":
        job = replace(self.jobs[position - 1], **changes)  # type: ignore[arg-type]
        return replace(self, jobs=(*self.jobs[: position - 1], job, *self.jobs[position:]))

    def _with_ending(self, result: Event) -> Sequence[Event]:
        """The result, and the end of the application if that follows from it."""
        after = self.after(result)
        if after.open_jobs or self.status is Status.CANCELLED:
            return [result]
        failures = [job.failed for job in after.jobs if job.failed]
        if not failures:
            return [result, ApplicationSucceeded(previous=self.status)]
        return [result] if self.status is Status.FAILED else [result, after._failed_by(failures[0])]

    def _failed_by(self, first: JobFailed) -> ApplicationFailed:
        return ApplicationFailed(
            reason=first.reason,
            error_type=first.error_type,
            attempts=self.retries_used + 1,
            queued_version=self.queued_version,
            brief=self.brief,
        )

    def _with_failures(self, verdicts: Iterable[tuple[int, "Verdict"]]) -> Sequence[Event]:
        events: list[Event] = []
        state = self
        for position, found in verdicts:
            job = self.jobs[position - 1]
            verdict = _in_doubt(found) if job.doubtful else found
            failed = JobFailed(
                position=position,
                failure=verdict.failure,
                reason=verdict.reason,
                error_type=verdict.error_type,
                job=job.job,
                documents=job.documents or Documents(),
            )
            follows = state._with_ending(failed)
            events.extend(follows)
            state = reduce(Application.after, follows, state)
        return events

    def _given_up_by_workers(self) -> Sequence[Event]:
        """What killed each of its last workers is not tried again; each of them was an attempt."""
        reason = "Max retries exceeded: every worker that took it up died"
        *failures, end = self._with_failures((p, _if_worker_died(job, reason)) for p, job in self.open_jobs)
        return [*failures, end.model_copy(update={"attempts": self.retries_used + self.barren_starts})]

    def _rested_too_long(self, unfinished: Unfinished, now: datetime) -> bool:
        since = self._job(unfinished.position).resting_since
        return unfinished.rests and since is not None and now - since >= timedelta(seconds=RESTING_LIMIT_SECONDS)

    def _retry_of(self, left: Sequence[Unfinished], now: datetime, policy: RetryPolicy) -> RetryScheduled:
        retry, counted = self.retries_used + 1, any(u.counted for u in left)
        delay = max([policy.delay(retry) if counted else 0.0, *(u.wait for u in left)])
        return RetryScheduled(
            start=self.starts,
            retry=retry,
            counted=counted,
            due_at=now + timedelta(milliseconds=round(delay * 1000)),
            waiting=tuple(self._wait_of(u, now) for u in left),
            brief=self.brief,
        )

    def _wait_of(self, u: Unfinished, now: datetime) -> JobWait:
        since = (self._job(u.position).resting_since or now) if u.rests else None
        return JobWait(position=u.position, reason=u.reason, error_type=u.error_type, resting_since=since)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a job failed for good; `error_type` is the class of the real error (contract messaging.md 4)."""

    failure: Failure
    reason: str
    error_type: str


def refused(reason: str, error_type: str) -> Verdict:
    return Verdict(Failure.REFUSED, reason, error_type)


def unknown_outcome(reason: str, error_type: str) -> Verdict:
    return Verdict(Failure.UNKNOWN, f"Outcome unknown: {reason}", error_type)


def _in_doubt(verdict: Verdict) -> Verdict:
    """Of a later attempt: no answer to it undoes what a portal without keys may have taken before."""
    if verdict.failure is Failure.UNKNOWN:
        return verdict
    reason = f"an earlier attempt may have been taken; the last one: {verdict.reason}"
    return unknown_outcome(reason, verdict.error_type)


def entry_id(application_id: UUID, job_count: int, position: int) -> str:
    """Key of a job in the lists (contract http.md 1.1)."""
    return application_id.hex if job_count == 1 else f"{application_id.hex}-{position}"


def _exhausted(u: Unfinished) -> Verdict:
    return Verdict(Failure.EXHAUSTED, f"Max retries exceeded: {u.reason}", u.error_type)


def _may_be_lost(job: JobState) -> bool:
    """Whether a portal without keys may have it: sent again, it could be there twice."""
    return job.attempted is not None and job.attempted.delivery is Delivery.AT_MOST_ONCE


def _if_worker_died(job: JobState, reason: str) -> Verdict:
    if _may_be_lost(job):
        return unknown_outcome(reason, "WorkerLostError")
    return Verdict(Failure.EXHAUSTED, reason, "WorkerLostError")


def _waiting_again(application: Application, wait: JobWait) -> Application:
    return application._with_job(wait.position, attempted=None, resting_since=wait.resting_since)


def _next_round(job: JobState) -> JobState:
    """Open again if it had failed; with a new key only after a definite no (contract portals.md 1)."""
    if job.failed is None:
        return job
    doubtful = job.doubtful or job.failed.failure is Failure.UNKNOWN
    if job.failed.failure is Failure.REFUSED:
        return JobState(job.job, round=job.round + 1, doubtful=doubtful)
    return JobState(job.job, round=job.round, documents=job.documents, doubtful=doubtful)
