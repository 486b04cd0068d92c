"""What the log may say of a stream, checked event by event: for who audits it, not for who writes it.

Written apart from the aggregates, so that a mistake of theirs shows: it looks at what was recorded and knows no
command. Of an application it knows the statuses and which jobs have ended (contract http.md 1.9, design 4).
"""

from domain.application_events import (
    ApplicationCancelled,
    ApplicationFailed,
    ApplicationSubmitted,
    ApplicationSucceeded,
    DocumentsWritten,
    JobApplied,
    JobAttempted,
    JobFailed,
    ProcessingStarted,
    Requeued,
    RetryRequested,
    RetryScheduled,
    Status,
)
from domain.event import Event

PENDING, PROCESSING, SUCCESS, FAILED, CANCELLED = Status
RUNNING = (PENDING, PROCESSING)


class StreamLife:
    """One stream so far. Jobs are bits of a number: there may be many streams."""

    __slots__ = ("_applied", "_failed", "_jobs", "_kind", "_status", "version")

    def __init__(self) -> None:
        self.version = 0
        self._kind = ""
        self._status: Status | None = None  # None until it is an application that was submitted
        self._jobs = self._applied = self._failed = 0

    def next(self, version: int, event: Event) -> str | None:
        """Takes the next event of the stream; what is not legal about it, if anything."""
        due, self.version = self.version + 1, version
        if version != due:
            return f"has version {version} where {due} was due"
        kind = event.NAME.partition(".")[0]
        if due == 1:
            self._kind = kind
        elif kind != self._kind:
            return f"{event.NAME} in a stream of {self._kind} events"
        return self._of_application(event) if kind == "application" else None

    def end(self) -> str | None:
        """What is not legal about the stream as it stands."""
        if self._status in RUNNING and not self._open:
            return f"is {self._status} though each of its jobs has ended"
        return None

    @property
    def _open(self) -> int:
        return self._jobs & ~(self._applied | self._failed)

    def _of_application(self, event: Event) -> str | None:
        status = self._status
        if isinstance(event, ApplicationSubmitted):
            self._status, self._jobs = PENDING, (1 << len(event.jobs)) - 1
            return None if status is None and event.jobs else f"{event.NAME} when it was {status}"
        if status is None:
            return f"begins with {event.NAME}"
        return None if self._takes(event, status) else f"{event.NAME} when it was {status}{self._told()}"

    def _takes(self, event: Event, status: Status) -> bool:  # noqa: PLR0911  one arm for each event
        match event:
            case JobAttempted(position=position) | DocumentsWritten(position=position):
                return status is PROCESSING and bool(self._bit(position) & self._open)
            case ProcessingStarted(previous=previous):
                self._status = PROCESSING
                return status in RUNNING and previous is status
            case JobApplied(position=position, was_failed=was_failed):
                bit = self._bit(position)
                legal = bool(bit & ~self._applied) and was_failed == bool(bit & self._failed)
                self._applied, self._failed = self._applied | bit, self._failed & ~bit
                return legal
            case JobFailed(position=position):
                bit = self._bit(position)
                legal = status in RUNNING and bool(bit & self._open)
                self._failed |= bit
                return legal
            case ApplicationSucceeded(previous=previous):
                self._status = SUCCESS
                return status in (*RUNNING, FAILED) and previous is status and self._applied == self._jobs
            case ApplicationFailed():
                self._status = FAILED
                return status in RUNNING and not self._open and bool(self._failed)
            case ApplicationCancelled():
                self._status = CANCELLED
                return status is PENDING
            case RetryScheduled():
                return status is PROCESSING
            case Requeued():
                return status in RUNNING
            case RetryRequested(reopened=reopened):
                again = sum({self._bit(job.position) for job in reopened})
                legal = status is FAILED and again == self._failed
                self._status, self._failed = PENDING, 0
                return legal
            case _:
                return False

    def _bit(self, position: int) -> int:
        """0 for a job that it does not have."""
        return (1 << position - 1) & self._jobs if position > 0 else 0

    def _told(self) -> str:
        ended = [self._applied.bit_count(), self._failed.bit_count()]
        return f" with {ended[0]} of {self._jobs.bit_count()} jobs applied and {ended[1]} failed"
