"""What the log may say of a stream, and what it may not."""

from collections.abc import Sequence

import pytest

from domain.application_events import ApplicationFailed, ApplicationSucceeded, Brief, Status
from domain.event import Event
from domain.lifecycle import StreamLife
from tests.builders import a_batch, an_application
from tests.stories import REFUSED_ENDED, SUBMITTED, TWO, TWO_STARTED, UNKNOWN_ENDED

SUCCEEDED = ApplicationSucceeded(previous=Status.PROCESSING)
FAILED = ApplicationFailed(reason="r", error_type="E", attempts=1, queued_version=1, brief=Brief())
STARTED = SUBMITTED.started()
ATTEMPTED = STARTED.attempted()


def problems(events: Sequence[Event]) -> list[str]:
    life = StreamLife()
    found = [life.next(version, event) for version, event in enumerate(events, 1)]
    return [problem for problem in [*found, life.end()] if problem]


@pytest.mark.parametrize(
    "story",
    [
        SUBMITTED,
        SUBMITTED.cancelled(),
        SUBMITTED.requeued().started().requeued().attempted().retry_scheduled().started(),
        ATTEMPTED.applied().succeeded(),
        ATTEMPTED.refused().failed().retried().started().attempted().applied().succeeded(),
        REFUSED_ENDED,
        REFUSED_ENDED.retried().cancelled(),
        UNKNOWN_ENDED.applied(1).succeeded(),
        UNKNOWN_ENDED.retried().applied(1).succeeded(),
        UNKNOWN_ENDED.retried().cancelled().applied(1),
        TWO_STARTED.attempted(1, 2).unknown(1).unknown(2).failed().applied(1),
        a_batch().cancelled(),
    ],
    ids=lambda story: " ".join(event.NAME.split(".")[1] for event in story),
)
def test_what_happens_is_legal(story: Sequence[Event]) -> None:
    assert problems(tuple(story)) == []


ILLEGAL: list[tuple[Sequence[Event], str]] = [
    ((*STARTED, SUCCEEDED), "succeeded when it was processing with 0 of 1 jobs applied and 0 failed"),
    ((*TWO_STARTED.attempted(1, 2).applied(1), SUCCEEDED), "succeeded when it was processing with 1 of 2"),
    ((*ATTEMPTED.refused(), SUCCEEDED), "succeeded when it was processing with 0 of 1 jobs applied and 1 failed"),
    ((*ATTEMPTED.applied(), ApplicationSucceeded(previous=Status.PENDING)), "succeeded when it was processing"),
    ((*ATTEMPTED.applied().succeeded(), SUCCEEDED), "succeeded when it was success"),
    ((*STARTED, FAILED), "failed when it was processing with 0 of 1 jobs applied and 0 failed"),
    ((*ATTEMPTED.applied(), FAILED), "failed when it was processing with 1 of 1 jobs applied and 0 failed"),
    ((*ATTEMPTED.refused().failed(), FAILED), "failed when it was failed"),
    (STARTED.cancelled().events, "cancelled when it was processing"),
    (ATTEMPTED.applied().succeeded().cancelled().events, "cancelled when it was success"),
    (SUBMITTED.cancelled().started().events, "processing_started when it was cancelled"),
    (ATTEMPTED.applied().succeeded().requeued().events, "requeued when it was success"),
    (ATTEMPTED.applied().applied().events, "job_applied when it was processing"),
    (TWO_STARTED.attempted(1, 2).refused(1).events + TWO.started().refused(1).events[-1:], "job_failed when"),
    (SUBMITTED.retried().events, "retry_requested when it was pending"),
    (SUBMITTED.started().submitted().events, "submitted when it was processing"),
    (STARTED.events[1:], "begins with application.processing_started"),
    (ATTEMPTED.applied().events, "is processing though each of its jobs has ended"),
    (ATTEMPTED.refused().events, "is processing though each of its jobs has ended"),
    ((*a_batch().events, *SUBMITTED.events), "application.submitted in a stream of batch events"),
    ((*an_application().submitted(jobs=1).events, *TWO_STARTED.attempted(1, 2).events[-1:]), "job_attempted when"),
]


@pytest.mark.parametrize(("events", "problem"), ILLEGAL, ids=[problem for _, problem in ILLEGAL])
def test_what_cannot_have_happened_is_told(events: Sequence[Event], problem: str) -> None:
    assert problem in problems(events)[0]


def test_a_version_that_is_missing_or_there_twice_is_told() -> None:
    first, second, *_ = ATTEMPTED.events
    life = StreamLife()
    assert life.next(1, first) is None
    assert life.next(3, second) == "has version 3 where 2 was due"
    assert life.next(3, second) == "has version 3 where 4 was due"
