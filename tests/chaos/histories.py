"""What the log says of each application, read by rules of its own: no fold of the service is used."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from domain.application_events import (
    ApplicationSubmitted,
    Delivery,
    Failure,
    JobApplied,
    JobAttempted,
    JobFailed,
    ProcessingStarted,
    RetryRequested,
    RetryScheduled,
    Status,
)
from domain.event import RecordedEvent

STATUSES = {
    "application.submitted": "pending",
    "application.processing_started": "processing",
    "application.succeeded": "success",
    "application.failed": "failed",
    "application.retry_requested": "pending",
    "application.cancelled": "cancelled",
}
ENDED = {"success", "failed", "cancelled"}


@dataclass(frozen=True, slots=True)
class History:
    """One application's events, in the order of its stream."""

    id: str
    user: str
    recorded: Sequence[RecordedEvent]

    @property
    def changes(self) -> list[tuple[str, str]]:
        """Position and status of each change, as a stream should tell them."""
        found = []
        for one in self.recorded:
            event = one.event
            repeated = isinstance(event, ProcessingStarted) and event.previous is Status.PROCESSING
            if event.NAME in STATUSES and not repeated:
                found.append((str(one.position), STATUSES[event.NAME]))
        return found

    @property
    def status(self) -> str:
        return self.changes[-1][1] if self.changes else "unknown"

    @property
    def tags(self) -> set[str]:
        """Every job of an application bears its tag as the company's name."""
        events = (one.event for one in self.recorded)
        submitted = (event for event in events if isinstance(event, ApplicationSubmitted))
        return {str(job.company_name) for event in submitted for job in event.jobs}

    def jobs(self) -> "Iterator[JobHistory]":
        submitted = self.recorded[0].event
        count = len(submitted.jobs) if isinstance(submitted, ApplicationSubmitted) else 0
        ids = [self.id] if count == 1 else [f"{self.id}-{place}" for place in range(1, count + 1)]
        return (JobHistory(id, place, self.recorded) for place, id in enumerate(ids, 1))


@dataclass(frozen=True, slots=True)
class JobHistory:
    """What happened to one job. `place` counts from 1."""

    entry_id: str
    place: int
    recorded: Sequence[RecordedEvent]

    @property
    def attempts(self) -> list[JobAttempted]:
        events = (one.event for one in self.recorded)
        return [event for event in events if isinstance(event, JobAttempted) and event.position == self.place]

    @property
    def applied(self) -> bool:
        return any(isinstance(one.event, JobApplied) and one.event.position == self.place for one in self.recorded)

    @property
    def listed(self) -> str | None:
        """In which list it should stand now."""
        listed = None
        for one in self.recorded:
            match one.event:
                case JobApplied(position=self.place):
                    listed = "applied"
                case JobFailed(position=self.place) if listed != "applied":
                    listed = "failed"
                case RetryRequested(reopened=reopened) if any(job.position == self.place for job in reopened):
                    listed = None
                case _:
                    pass
        return listed

    @property
    def reopened_unknown(self) -> int:
        """How often a person had it sent again although its outcome was not known."""
        unknown, count = False, 0
        for one in self.recorded:
            match one.event:
                case JobFailed(position=self.place, failure=failure):
                    unknown = failure is Failure.UNKNOWN
                case RetryRequested(reopened=reopened) if any(job.position == self.place for job in reopened):
                    count += unknown
                case _:
                    pass
        return count

    @property
    def attempts_on_an_unknown_outcome(self) -> int:
        """Attempts at a portal without keys, made while the outcome of the one before was not known."""
        open_attempt, count = False, 0
        for one in self.recorded:
            match one.event:
                case JobAttempted(position=self.place, delivery=Delivery.AT_MOST_ONCE):
                    count += open_attempt
                    open_attempt = True
                case RetryScheduled(waiting=waiting) if any(job.position == self.place for job in waiting):
                    open_attempt = False
                case JobFailed(position=self.place) | JobApplied(position=self.place):
                    open_attempt = False
                case _:
                    pass
        return count


def histories(log: Sequence[RecordedEvent]) -> Mapping[str, History]:
    """By application id."""
    streams: defaultdict[str, list[RecordedEvent]] = defaultdict(list)
    for one in log:
        if one.event.NAME.startswith("application."):
            streams[one.stream_id.hex].append(one)
    return {id: History(id, recorded[0].owner.user_id, recorded) for id, recorded in streams.items()}
