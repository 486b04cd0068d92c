"""One run of one application under its claim: documents, then portals, then what came of it (design 7).

For each open job: write its documents, wait for the portal's slot, append JobAttempted (with the documents, once a
round), call the portal, append the result. At the end, what has no result waits for a retry: one RetryScheduled.

Killed at any line:
- before JobAttempted is in the log: nothing was sent, and the next start tries the job;
- after it: the log knows of an attempt without an end. The same key goes out again, or, where a portal takes no keys,
  the next start records that the outcome is unknown;
- after the result: nobody sends that job again. After the last one the application has ended.

While the event log is away no portal is called. What is known already, results and the retry, waits for the log, as
long as the claim is ours. `applied` is recorded even after that: whatever happened meanwhile, the portal has the job. A
claim that is lost may only mean that the log is slow: so what was surely not sent is then given back.

The start's number is the fence. When a later start shows in the log, this run is over: it calls and records nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import orjson

from consumers.backoff import Backoff
from consumers.claim_keeper import ClaimLost
from consumers.cv_shelf import HeldCv
from consumers.documents import DocumentRequest, DocumentWriter
from consumers.halt import BrokenOff, Halt
from consumers.late_results import LateResults
from consumers.outcomes import (
    CLAIM_LOST,
    CLAIM_LOST_ERROR,
    STOPPED,
    STOPPED_ERROR,
    Result,
    broken_off,
    given_back,
    result_of,
)
from consumers.portals import Applied, NotTaken, Outcome, Portal, PortalResting, Refused, Submission
from consumers.together import all_of
from domain.application import JobState, Unfinished, Verdict, refused
from domain.application_events import Delivery
from domain.commands import ApplicationCommands, Loaded
from domain.errors import AttemptRefused, Overloaded, StoreError
from domain.event import Cause
from domain.job import Documents
from domain.ports import Claim
from infra import tracing
from infra.tracing import Kind, Span

logger = logging.getLogger(__name__)

JOBS_AT_ONCE = 16  # of one application; the portals' own limits come on top
DOCUMENT_SECONDS = 60.0
NAME_CHARACTERS = 100  # of a portal's name in a reason

Change = Callable[[Loaded], Awaitable[Loaded]]
ReadCv = Callable[[bytes], Awaitable[str | None]]
FindPortal = Callable[[str | None], Portal | None]


@dataclass(frozen=True, slots=True)
class Tools:
    """What all runs of a worker share."""

    commands: ApplicationCommands
    find_portal: FindPortal
    writer: DocumentWriter
    read_cv: ReadCv
    halt: Halt
    late: LateResults
    store_backoff: Backoff = field(default_factory=Backoff)  # for jobs that are given back because a store is away


class ApplicationRun:
    """`loaded` is as the start left it, `cv` the file that the application names, or None if that is gone."""

    def __init__(self, tools: Tools, loaded: Loaded, cause: Cause, claim: Claim, cv: HeldCv | None) -> None:
        self._tools, self._cause, self._claim, self._cv = tools, cause, claim, cv
        self.loaded = loaded
        self.claim_released = loaded.application.ended
        self._start = loaded.application.starts
        self._appending = asyncio.Lock()  # so that the run's own appends do not conflict
        self._unfinished: list[Unfinished] = []
        self._maybe_taken: set[int] = set()  # jobs that a portal without keys may have
        self._cv_text: str | None = None

    async def work(self) -> None:
        """Returns when all that follows is in the log. Raises ClaimLost as soon as it sees a later start there."""
        open_jobs = self.loaded.application.open_jobs
        if self._cv is not None and any(job.documents is None for _, job in open_jobs):
            self._cv_text = await self._tools.read_cv(self._cv.content)
        if len(open_jobs) == 1:
            await self._do_jobs(open_jobs)
        else:
            jobs = iter(open_jobs)
            await all_of(*(self._do_jobs(jobs) for _ in range(min(JOBS_AT_ONCE, len(open_jobs)))))
        if self._unfinished:
            unfinished = sorted(self._unfinished, key=lambda one: one.position)
            await self._insist(lambda loaded: self._pause(loaded, unfinished))

    def give_back(self) -> None:
        """After the claim was lost, perhaps only because the log is slow: in the background, and without a claim.

        Neither costs an attempt. What was not sent has no unknown outcome, and a start under which nothing could be
        done counts for no dead worker. Nothing follows once there is a later start. As with a portal that rests, this
        ends after a while: where a document writer blocks the event loop, each start loses its claim.
        """
        loaded, jobs = self.loaded, self.loaded.application.open_jobs
        wait = self._tools.store_backoff.seconds()
        left = [
            given_back(p, CLAIM_LOST, CLAIM_LOST_ERROR, wait, rests=True) for p, _ in jobs if p not in self._maybe_taken
        ]
        if left:
            self._tools.late.record(lambda: self._tools.commands.pause(loaded, self._cause, left, None))

    async def _do_jobs(self, jobs: Iterable[tuple[int, JobState]]) -> None:
        for position, job in jobs:
            await self._record(position, await self._do(position, job))

    # -- one job ------------------------------------------------------------------------------------------------------

    async def _do(self, position: int, job: JobState) -> Result | None:
        """What came of the job; None when another run has recorded its end."""
        if self.loaded.application.cv is not None and self._cv is None:
            return refused("ERR_4001: the uploaded CV is gone", "ResumeNotFoundError")
        portal = self._tools.find_portal(job.job.portal)
        if portal is None:
            return refused(_no_portal(job.job.portal), "PortalNotConfiguredError")
        call = _Call()
        try:
            async with self._tools.halt.breakable():
                return await self._call(call, portal, position, job)
        except BrokenOff:
            return broken_off(position, portal.delivery, sent=call.sent)
        except PortalResting as resting:
            wait = max(resting.seconds, self._tools.commands.policy.base_delay)
            return given_back(position, str(resting), "PortalResting", wait, rests=True)
        except AttemptRefused:
            await self._insist(self._tools.commands.reload)
            return None
        except (StoreError, Overloaded) as error:
            return given_back(position, str(error), type(error).__name__, self._tools.store_backoff.seconds())

    async def _call(self, call: "_Call", portal: Portal, position: int, job: JobState) -> Result:
        fields = job.job.model_dump()
        documents = job.documents or await self._write(position, fields)
        if not isinstance(documents, Documents):
            return documents
        async with portal.slot():
            if self._tools.halt.begins_nothing:
                return given_back(position, STOPPED, STOPPED_ERROR)
            await self._begin_attempt(position, portal, documents)
            self._tools.store_backoff.reset()
            with tracing.span("submit to portal", {"app_manager.portal": portal.name}, Kind.CLIENT) as span:
                submission = self._submission(position, job, fields)
                call.sent = True
                if portal.delivery is Delivery.AT_MOST_ONCE:
                    self._maybe_taken.add(position)
                outcome = await portal.submit(submission)
                if isinstance(outcome, NotTaken | Refused):
                    self._maybe_taken.discard(position)
                _tell(span, submission, outcome)
        return result_of(outcome, position, portal.delivery, self._tools.commands.policy)

    async def _write(self, position: int, fields: dict[str, object]) -> Documents | Result:
        """Writes a job's documents. What a writer cannot do for now is tried again, what it cannot do at all fails."""
        application = self.loaded.application
        request = DocumentRequest(fields, application.style, self._cv_text, application.id.hex)
        try:
            with tracing.span("write documents"):
                async with asyncio.timeout(DOCUMENT_SECONDS):
                    written = await self._tools.writer.write(request)
            orjson.dumps([written.resume_optimized, written.cover_letter])  # what cannot be kept fails here
        except (OSError, TimeoutError) as error:
            return Unfinished(position, f"The documents could not be written: {error}", type(error).__name__)
        except Exception as error:
            logger.exception("documents cannot be written", extra={"event_type": "document_writer_failed"})
            return refused(f"The documents cannot be written: {error}", type(error).__name__)
        return Documents(resume_optimized=written.resume_optimized, cover_letter=written.cover_letter)

    def _submission(self, position: int, job: JobState, fields: dict[str, object]) -> Submission:
        """With the documents as the log has them: the same in every attempt of a round."""
        application = self.loaded.application
        documents = application.jobs[position - 1].documents or Documents()
        entry_id = application.entry_id(position)
        return Submission(
            entry_id=entry_id,
            application_id=application.id.hex,
            user_id=self.loaded.owner.user_id,
            job=fields,
            documents=documents.model_dump(),
            cv=self._cv,
            idempotency_key=f"{entry_id}-{job.round}",
            correlation_id=self._cause.correlation_id or self.loaded.correlation_id,
            traceparent=tracing.traceparent() or self._cause.traceparent,
        )

    # -- appending ----------------------------------------------------------------------------------------------------

    async def _begin_attempt(self, position: int, portal: Portal, documents: Documents) -> None:
        """Raises AttemptRefused, a StoreError or Overloaded: then the portal must not be called."""
        await self._append(
            lambda loaded: self._tools.commands.begin_attempt(
                loaded, self._cause, position, portal.name, portal.delivery, documents
            )
        )

    async def _record(self, position: int, result: Result | None) -> None:
        match result:
            case None:
                pass
            case Unfinished():
                self._unfinished.append(result)
            case Verdict():
                await self._insist(lambda loaded: self._settle(loaded, position, result))
            case Applied(reference):
                try:
                    await self._insist(lambda loaded: self._settle(loaded, position, reference))
                except asyncio.CancelledError:
                    settled = self.loaded
                    self._tools.late.record(lambda: self._settle(settled, position, reference))
                    raise

    async def _settle(self, loaded: Loaded, position: int, outcome: Verdict | str | None) -> Loaded:
        return await self._tools.commands.settle(loaded, self._cause, position, outcome, self._claim)

    async def _pause(self, loaded: Loaded, unfinished: list[Unfinished]) -> Loaded:
        return await self._tools.commands.pause(loaded, self._cause, unfinished, self._claim)

    async def _insist(self, change: Change) -> None:
        """Appends what must get into the log; waits for a log that is away. Ends with the claim."""
        backoff = Backoff()
        while True:
            try:
                return await self._append(change)
            except (StoreError, Overloaded) as error:
                id = self.loaded.application.id.hex
                extra = {"event_type": "event_store_away", "application_id": id, "error": str(error)}
                logger.warning("a result waits for the event log", extra=extra)
            await asyncio.sleep(backoff.seconds())

    async def _append(self, change: Change) -> None:
        """After an append whose outcome is unknown, the next one meets a conflict if it is there, and loads it."""
        async with self._appending:
            before = self.loaded.application
            self.loaded = await change(self.loaded)
            after = self.loaded.application
            if after.starts != self._start:
                raise ClaimLost(self._claim.name)
            if after.version > before.version:
                self.claim_released = after.ended or after.paused


@dataclass(slots=True)
class _Call:
    """How far a portal call has got."""

    sent: bool = False  # or about to be


def _tell(span: Span, submission: Submission, outcome: Outcome) -> None:
    """What a span of a portal call holds: which job it was, and the kind of answer."""
    if not span.recording:
        return
    span.set({"app_manager.entry_id": submission.entry_id, "app_manager.outcome": type(outcome).__name__})
    if not isinstance(outcome, Applied):
        span.failed(outcome.error_type)


def _no_portal(name: str | None) -> str:
    if name is None:
        return "No portal is configured for a job that names none"
    return f"No portal is configured for {name[:NAME_CHARACTERS]!r}"
