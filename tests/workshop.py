"""A worker's processing over a log in memory, with portals, writers and CVs that do as a test says."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from consumers.application_run import ApplicationRun, Tools
from consumers.backoff import Backoff
from consumers.claim_keeper import ClaimKeeper
from consumers.cv_shelf import CvShelf
from consumers.documents import DocumentRequest, WrittenDocuments
from consumers.halt import Halt
from consumers.late_results import LateResults
from consumers.portals import Applied, Delivery, Outcome, Portal, PortalResting, Submission
from consumers.processing import Handled, Processing
from domain.commands import ApplicationCommands
from domain.errors import StoreError
from domain.event import Cause, Event
from domain.job import CvReference, Job
from domain.ports import Append
from domain.retry import RetryPolicy
from infra.clock import SystemClock
from infra.messages import Work
from tests.builders import ApplicationStory, a_job
from tests.fakes.event_log import FakeClaims, FakeEventLog

CAUSE = Cause("worker:w1", None, "message-1")
Answer = Outcome | PortalResting | Callable[[Submission], Any]


@dataclass
class ScriptedPortal:
    """Gives its answers one after the other, the last one again and again. A function is called, and awaited."""

    name: str = "sandbox"
    delivery: Delivery = Delivery.AT_LEAST_ONCE
    answers: list[Answer] = field(default_factory=lambda: [Applied("SBX-1")])
    submissions: list[Submission] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        return [submission.idempotency_key for submission in self.submissions]

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        if isinstance(self.answers[0], PortalResting):
            raise self.answers[0]
        yield

    async def submit(self, submission: Submission) -> Outcome:
        self.submissions.append(submission)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        assert not isinstance(answer, PortalResting)
        return await answer(submission) if callable(answer) else answer


@dataclass
class ScriptedWriter:
    """Numbers its letters. `trouble` is raised instead, once."""

    trouble: Exception | None = None
    requests: list[DocumentRequest] = field(default_factory=list)

    async def write(self, request: DocumentRequest) -> WrittenDocuments:
        self.requests.append(request)
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble
        return WrittenDocuments(request.cv_text and {"text": request.cv_text}, {"letter": len(self.requests)})  # type: ignore[arg-type]


@dataclass
class CvsInMemory:
    """`cv_shelf.CvFiles`. `trouble` is raised instead while it is set."""

    files: dict[str, bytes] = field(default_factory=dict)
    trouble: StoreError | None = None

    async def read(self, cv_id: str) -> bytes | None:
        if self.trouble is not None:
            raise self.trouble
        return self.files.get(cv_id)


@dataclass
class Workshop:
    """All that one worker has. Used as an async context manager."""

    portals: Sequence[Portal] = field(default_factory=lambda: [ScriptedPortal()])
    policy: RetryPolicy = field(default_factory=lambda: RetryPolicy(max_retries=2))
    log: FakeEventLog = field(default_factory=FakeEventLog)
    claims: FakeClaims = field(init=False)
    writer: ScriptedWriter = field(default_factory=ScriptedWriter)
    cvs: CvsInMemory = field(default_factory=CvsInMemory)
    halt: Halt = field(default_factory=Halt)
    late: LateResults = field(default_factory=LateResults)
    claim_seconds: float = 5.0
    holder: str = "w1"
    runs: list[ApplicationRun] = field(default_factory=list)

    async def __aenter__(self) -> "Workshop":
        self.claims = self.log.claims
        self.commands = ApplicationCommands(self.log, SystemClock(), self.policy)
        self._opened = AsyncExitStack()
        keeper = ClaimKeeper(self.claims, self.holder, self.claim_seconds)
        self.keeper = await self._opened.enter_async_context(keeper)
        tools = Tools(
            commands=self.commands,
            find_portal=lambda name: next((portal for portal in self.portals if portal.name == name), None),
            writer=self.writer,
            read_cv=self._read_cv,
            halt=self.halt,
            late=self.late,
            store_backoff=Backoff(),
        )
        self.processing = Processing(tools, self.claims, self.keeper, CvShelf(self.cvs), self)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.late.finish(5)
        await self._opened.aclose()

    def at_work(self) -> AbstractContextManager[None]:
        """As `processing.Watcher`."""
        return nullcontext()

    @asynccontextmanager
    async def running(self, run: ApplicationRun) -> AsyncIterator[None]:
        """As `processing.Watcher`."""
        self.runs.append(run)
        yield

    async def submitted(
        self, *jobs: Job, user: str = "ada", style: str | None = None, cv: CvReference | None = None
    ) -> UUID:
        submitted = await self.commands.submit(user, jobs or (a_job(),), style, cv, Cause(f"user:{user}", "c-1"))
        return submitted.application_id

    async def given(self, story: ApplicationStory) -> UUID:
        await self.log.append(Append(story.recorded()))
        return story.id

    async def handle(self, id: UUID, user: str = "ada", version: int | None = None) -> Handled:
        return await self.processing.handle(Work(id.hex, user, version), CAUSE)

    async def handle_until_ended(self, id: UUID) -> Handled:
        """As often as there is a retry."""
        while (handled := await self.handle(id)) is Handled.WAITING:
            pass
        return handled

    async def events(self, id: UUID) -> list[Event]:
        return [recorded.event for recorded in await self.log.read_stream(id)]

    async def names(self, id: UUID) -> list[str]:
        """What has happened, in short."""
        return [event.NAME.removeprefix("application.") for event in await self.events(id)]

    async def _read_cv(self, pdf: bytes) -> str | None:
        return f"text of {pdf.decode()}"


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Lets other tasks run until it is true. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


def a_new_id() -> UUID:
    return uuid4()
