"""Random lives of an application, against a small model of what the contract says of it.

The model knows words and flags only: no event, no fold. Workers die, come back late, send under starts that are over;
users retry and cancel at any moment. What the rules give must be what the model expects, and what must never happen is
looked for after each step in the events themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.application import Application, JobState, Unfinished, refused, unknown_outcome
from domain.application_events import (
    Delivery,
    DocumentsWritten,
    JobApplied,
    JobAttempted,
    JobFailed,
    RetryRequested,
    RetryScheduled,
)
from domain.errors import ApplicationAlreadyProcessed, ApplicationState, AttemptRefused
from domain.event import Event
from domain.job import Documents
from domain.lifecycle import StreamLife
from domain.retry import RetryPolicy
from tests.builders import APPLICATION_ID, START, some_jobs

# contract http.md 1.9; the last of `pending` is a portal's late answer
NEXT = {
    "pending": {"processing", "cancelled", "success"},
    "processing": {"success", "failed"},
    "success": set(),
    "failed": {"pending", "success"},
    "cancelled": set(),
}


# -- the model --------------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class ExpectedJob:
    state: str = "open"  # open, applied, refused, exhausted, unknown
    blind: bool = False  # a portal without keys may have it, and nobody knows
    resting_since: datetime | None = None
    doubtful: bool = False  # it was so when its user had it retried: no later answer undoes that

    def ends(self, state: str) -> None:
        self.state = "unknown" if self.doubtful and state != "applied" else state

    def again(self) -> "ExpectedJob":
        return ExpectedJob(doubtful=self.doubtful or self.state == "unknown")


@dataclass(slots=True)
class ExpectedApplication:
    """What users and operators were told of an application."""

    max_retries: int
    jobs: list[ExpectedJob]
    status: str = "pending"
    starts: int = 0
    deaths: int = 0
    retries: int = 0
    runs: bool = False  # what is done under the newest start still counts

    def start(self) -> None:
        if self.status not in {"pending", "processing"}:
            return
        if self.deaths > self.max_retries:
            self._end(*((job, "unknown" if job.blind else "exhausted") for job in self.open()))
            return
        self.status, self.starts, self.deaths, self.runs = "processing", self.starts + 1, self.deaths + 1, True
        self._end(*((job, "unknown") for job in self.open() if job.blind))

    def may_send(self, start: int, job: ExpectedJob) -> bool:
        return self.counts(start) and job.state == "open" and not job.blind

    def applied(self, job: ExpectedJob) -> None:
        if job.state in {"open", "unknown"}:
            self._end((job, "applied"))

    def not_applied(self, start: int, job: ExpectedJob, state: str) -> None:
        if self.counts(start) and job.state == "open":
            self._end((job, state))

    def pause(self, start: int, told: Sequence[tuple[ExpectedJob, str]], now: datetime) -> None:
        waiting = [(job, kind) for job, kind in told if job.state == "open"]
        if not self.counts(start) or not waiting:
            return
        given_up = [job for job, kind in waiting if self._gives_up(job, kind, now)]
        left = [(job, kind) for job, kind in waiting if job not in given_up]
        self._end(*((job, "exhausted") for job in given_up))
        for job, kind in left:
            job.blind = False
            job.resting_since = (job.resting_since or now) if kind == "rests" else None
        if left:
            self.retries += any(kind == "busy" for _, kind in left)
            self.deaths, self.runs = 0, False

    def retry(self) -> bool:
        if self.status != "failed":
            return False
        self.status, self.deaths, self.retries, self.runs = "pending", 0, 0, False
        self.jobs = [job if job.state == "applied" else job.again() for job in self.jobs]
        return True

    def cancel(self) -> bool:
        if self.status != "pending":
            return False
        self.status = "cancelled"
        return True

    def open(self) -> list[ExpectedJob]:
        return [job for job in self.jobs if job.state == "open"]

    def counts(self, start: int) -> bool:
        return self.status == "processing" and start == self.starts and self.runs

    def _gives_up(self, job: ExpectedJob, kind: str, now: datetime) -> bool:
        if kind == "rests":
            return job.resting_since is not None and now - job.resting_since >= timedelta(minutes=15)
        return kind == "busy" and self.retries >= self.max_retries

    def _end(self, *ended: tuple[ExpectedJob, str]) -> None:
        for job, state in ended:
            job.ends(state)
            job.blind, self.deaths = False, 0
        if self.status == "cancelled" or self.open():
            return
        self.status = "success" if all(job.state == "applied" for job in self.jobs) else "failed"


@dataclass(slots=True)
class Run:
    """A worker's work under one start; it may live on long after that start is over."""

    start: int
    sent: set[int] = field(default_factory=set)


# -- an application ---------------------------------------------------------------------------------------------------

runs = st.integers(0, 5)
positions = st.integers(0, 3)


class ApplicationLife(RuleBasedStateMachine):
    """`position` and `run` are drawn freely, and taken around the number that there are."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.events: list[Event] = []
        self.statuses = ["pending"]
        self.runs: list[Run] = []

    @initialize(jobs=st.integers(1, 3), max_retries=st.integers(0, 2))
    def submitted(self, jobs: int, max_retries: int) -> None:
        self.policy = RetryPolicy(max_retries=max_retries)
        self.expected = ExpectedApplication(max_retries, [ExpectedJob() for _ in range(jobs)])
        self.application = Application(APPLICATION_ID)
        self.happens(self.application.submit(some_jobs(jobs), None, None))

    @rule()
    def a_worker_takes_it_up(self) -> None:
        """Whatever became of the worker before: it may be dead, or only slow."""
        self.happens(self.application.start(self.policy))
        self.expected.start()
        if self.expected.status == "processing":
            self.runs.append(Run(self.expected.starts))

    @precondition(lambda self: self.runs)
    @rule(run=runs, position=positions, delivery=st.sampled_from(Delivery))
    def an_attempt_begins(self, run: int, position: int, delivery: Delivery) -> None:
        worker, number = self.run(run), self.position(position)
        job, documents = self.expected.jobs[number - 1], Documents(cover_letter={"made": len(self.events)})
        may_send = self.expected.may_send(worker.start, job)
        try:
            self.happens(self.application.begin_attempt(number, worker.start, "portal", delivery, documents))
        except AttemptRefused:
            assert not may_send
        else:
            assert may_send
            worker.sent.add(number)
            job.blind = delivery is Delivery.AT_MOST_ONCE

    @precondition(lambda self: any(run.sent for run in self.runs))
    @rule(run=runs, position=positions)
    def a_portal_has_it(self, run: int, position: int) -> None:
        """At any time after it was sent, also more than once."""
        for number in self.sent_by(run, position):
            self.happens(self.application.record_applied(number, "SBX-1"))
            self.expected.applied(self.expected.jobs[number - 1])

    @precondition(lambda self: self.runs)
    @rule(run=runs, position=positions)
    def a_portal_refuses(self, run: int, position: int) -> None:
        """Or the job fails before it was sent."""
        worker, number = self.run(run), self.position(position)
        verdict = refused("Position closed", "PortalRefusedError")
        self.happens(self.application.record_failed(number, worker.start, verdict))
        self.expected.not_applied(worker.start, self.expected.jobs[number - 1], "refused")

    @precondition(lambda self: any(run.sent for run in self.runs))
    @rule(run=runs, position=positions)
    def nobody_knows_whether_a_portal_has_it(self, run: int, position: int) -> None:
        for number in self.sent_by(run, position):
            start = self.run(run).start
            verdict = unknown_outcome("no answer", "TimeoutError")
            self.happens(self.application.record_failed(number, start, verdict))
            self.expected.not_applied(start, self.expected.jobs[number - 1], "unknown")

    @precondition(lambda self: self.runs)
    @rule(run=runs, kinds=st.lists(st.sampled_from(["busy", "rests", "given back"]), min_size=3, max_size=3))
    def a_worker_leaves_the_rest_for_later(self, run: int, kinds: list[str]) -> None:
        start = self.run(run).start
        unfinished = [
            Unfinished(number, kind, "Error", counted=kind == "busy", rests=kind == "rests")
            for number, kind in zip(range(1, len(self.expected.jobs) + 1), kinds, strict=False)
        ]
        self.happens(self.application.pause(start, unfinished, self.now, self.policy))
        self.expected.pause(start, list(zip(self.expected.jobs, kinds, strict=False)), self.now)

    @rule(minutes=st.sampled_from([1, 15]))
    def time_goes_by(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule()
    def the_user_retries(self) -> None:
        allowed, before = self.expected.retry(), self.statuses[-1]
        try:
            self.happens(self.application.retry())
        except ApplicationAlreadyProcessed:
            assert before == "success"
        except ApplicationState:
            assert before in {"pending", "processing", "cancelled"}
        else:
            assert allowed

    @rule()
    def the_user_cancels(self) -> None:
        allowed, before = self.expected.cancel(), self.statuses[-1]
        try:
            self.happens(self.application.cancel())
        except ApplicationState:
            assert before == "processing"
        except ApplicationAlreadyProcessed:
            assert before in {"success", "failed", "cancelled"}
        else:
            assert allowed

    @rule()
    def it_is_queued_again(self) -> None:
        events = self.application.requeue("stuck")
        assert bool(events) == (self.expected.status in {"pending", "processing"})
        self.happens(events)

    def happens(self, events: Sequence[Event]) -> None:
        """What was decided gets into the log, and nothing of it may be what must never happen."""
        for event in events:
            match event:
                case JobAttempted(position=position):
                    self.look_at_attempt(position, event)
                case JobApplied(position=position):
                    assert not self.application.jobs[position - 1].applied, "a job was applied twice"
                case JobFailed(position=position):
                    assert self.application.jobs[position - 1].open, "a job failed after its end"
                case _:
                    pass
            self.application = self.application.after(event)
            self.events.append(event)
            if self.application.status != self.statuses[-1]:
                self.statuses.append(str(self.application.status))

    def look_at_attempt(self, position: int, attempt: JobAttempted) -> None:
        """What a portal without keys may have is sent again by nobody but a person, and each round keeps its bytes."""
        for event in reversed(self.events):
            if ends_attempt(event, position):
                break
            if isinstance(event, JobAttempted) and event.position == position:
                assert event.delivery is Delivery.AT_LEAST_ONCE, "sent again to a portal without keys"
        written = [e for e in self.events if isinstance(e, DocumentsWritten) and e.position == position]
        assert written[-1].round == attempt.round, "an attempt without the documents of its round"

    def run(self, number: int) -> Run:
        """Run 0 is the newest."""
        return self.runs[-1 - number % len(self.runs)]

    def position(self, number: int) -> int:
        return 1 + number % len(self.expected.jobs)

    def sent_by(self, run: int, position: int) -> Sequence[int]:
        sent = sorted(self.run(run).sent)
        return [sent[position % len(sent)]] if sent else []

    # -- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def it_is_as_the_model_expects(self) -> None:
        assert self.statuses[-1] == self.application.status == self.expected.status
        states = [state_of(job) for job in self.application.jobs]
        assert states == [job.state for job in self.expected.jobs]
        assert self.application.starts == self.expected.starts

    @invariant()
    def it_keeps_what_was_promised(self) -> None:
        """Without the model: seen in the events and the state alone."""
        success_means_that_all_was_applied(self.application)
        what_has_ended_waits_for_nothing(self.application)
        what_was_applied_stays_so(self.application, self.events)
        attempts_are_bounded(self.events, self.policy)
        documents_are_written_once_a_round(self.events)
        for before, after in pairwise(self.statuses):
            assert after in NEXT[before]

    @invariant()
    def an_audit_finds_nothing(self) -> None:
        life = StreamLife()
        assert not any(life.next(version, event) for version, event in enumerate(self.events, 1))
        assert life.end() is None

    def teardown(self) -> None:
        """The fold gives the same again."""
        if self.events:
            assert Application.fold(APPLICATION_ID, self.events) == self.application


def success_means_that_all_was_applied(application: Application) -> None:
    all_applied = all(job.applied for job in application.jobs)
    assert all_applied or application.status != "success"
    assert not all_applied or application.status in {"success", "cancelled"}


def what_has_ended_waits_for_nothing(application: Application) -> None:
    assert application.status not in {"success", "failed"} or not application.open_jobs


def what_was_applied_stays_so(application: Application, events: Sequence[Event]) -> None:
    applied = {event.position for event in events if isinstance(event, JobApplied)}
    assert applied == {position for position, job in enumerate(application.jobs, 1) if job.applied}


def attempts_are_bounded(events: Sequence[Event], policy: RetryPolicy) -> None:
    counted = 0
    for event in events:
        match event:
            case RetryRequested():
                counted = 0
            case RetryScheduled(counted=True, retry=retry):
                counted += 1
                assert retry == counted <= policy.max_retries
            case RetryScheduled(counted=False, retry=retry):
                assert retry == counted + 1
            case _:
                pass


def documents_are_written_once_a_round(events: Sequence[Event]) -> None:
    written = [(event.position, event.round) for event in events if isinstance(event, DocumentsWritten)]
    assert len(written) == len(set(written))


def ends_attempt(event: Event, position: int) -> bool:
    """Whether an attempt of that job, if there was one, has a known end by this."""
    match event:
        case RetryRequested():
            return True
        case JobApplied(position=number) | JobFailed(position=number):
            return number == position
        case RetryScheduled(waiting=waiting):
            return position in {wait.position for wait in waiting}
        case _:
            return False


def state_of(job: JobState) -> str:
    if job.failed is None:
        return "applied" if job.applied else "open"
    return str(job.failed.failure)


TestApplicationLife = ApplicationLife.TestCase
TestApplicationLife.settings = settings(max_examples=200, stateful_step_count=60)
