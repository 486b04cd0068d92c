"""Load, decide, append: how every change of an application gets into the log.

A decision is made on what was loaded. When another append came first, the append is refused and all begins again, at
most ten times. A kill anywhere before the append leaves nothing; after it, all that was decided stands.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from uuid import UUID

from domain.appending import Appender, Guard, recorded_events
from domain.application import Application, Unfinished, Verdict
from domain.application_events import Delivery, Status
from domain.errors import ApplicationNotFound, Conflict, Overloaded
from domain.event import Cause, Event, Owner, RecordedEvent
from domain.job import CvReference, Documents, Job
from domain.ports import Append, Claim, Clock, EventLog
from domain.rejected_message import MessageRejected, RejectedMessage
from domain.retry import RetryPolicy

CONFLICT_TRIES = 10

Decision = Callable[[Application], Sequence[Event]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """An application as the log has it, with whom it belongs to and the position of its newest event.

    `start` is the fence: what is decided on this, also after a conflict, counts as done under that start, whichever is
    in the log by then. A worker hands on what each command gives it, and `reload`; never a fresh `load` in its place.
    """

    application: Application
    owner: Owner
    position: int
    last_at: datetime
    correlation_id: str | None  # of the request that began it
    start: int  # the start that its holder works under

    @classmethod
    def of(cls, recorded: Sequence[RecordedEvent]) -> "Loaded":
        first, last = recorded[0], recorded[-1]
        application = Application.fold(first.stream_id, (one.event for one in recorded))
        correlation_id = first.metadata.cause.correlation_id
        return cls(application, first.owner, last.position, last.metadata.at, correlation_id, start=application.starts)

    @property
    def told(self) -> Mapping[str, str | None]:
        """What log lines about it name (contract metrics.md 5)."""
        batch_id = self.owner.batch_id
        return {
            "application_id": self.application.id.hex,
            "user_id": self.owner.user_id,
            "batch_id": None if batch_id is None else batch_id.hex,
            "correlation_id": self.correlation_id,
        }


@dataclass(frozen=True, slots=True)
class Submitted:
    """A submission that is in the log; its position is known once it is."""

    application_id: UUID
    job_count: int
    created_at: datetime
    position: int = 0


@dataclass(frozen=True, slots=True)
class ApplicationCommands:
    """The commands of one application. What they raise is told in `domain/application.py` and `EventLog`."""

    log: EventLog
    clock: Clock
    policy: RetryPolicy

    # -- by users -----------------------------------------------------------------------------------------------------

    async def submit(
        self,
        user_id: str,
        jobs: tuple[Job, ...],
        style: str | None,
        cv: CvReference | None,
        cause: Cause,
        guard: Guard[Submitted] | None = None,
    ) -> Submitted:
        """A new application; durable when this returns. The CV must be stored before. Raises DuplicateRequest."""
        at = self.clock.now()
        id = self.clock.new_id(at)
        owner = Owner(user_id, len(jobs), at)
        events = recorded_events(id, 0, Application(id).submit(jobs, style, cv), at, cause, owner, self.clock)
        submitted = Submitted(id, len(jobs), at)
        return replace(submitted, position=await self._appender.append(events, submitted, guard))

    async def find(self, user_id: str, id: UUID) -> Loaded:
        """Raises ApplicationNotFound for an unknown application and for another user's."""
        loaded = await self.load(id)
        if loaded is None or loaded.owner.user_id != user_id:
            raise ApplicationNotFound(id.hex)
        return loaded

    async def retry(self, user_id: str, id: UUID, cause: Cause, guard: Guard[Loaded] | None = None) -> Loaded:
        """Raises DuplicateRequest."""
        return await self._change(await self.find(user_id, id), cause, Application.retry, guard=guard)

    async def retry_failure(self, id: UUID, failed_version: int, cause: Cause) -> Loaded | None:
        """An operator's retry of the very failure that stands at that version of the stream (contract messaging.md 4).

        None, and no event, when the application has not failed by it, or has gone on since.
        """
        loaded = await self.load(id)
        if loaded is None or not _failed_at(loaded.application, failed_version):
            return None
        appended: list[Event] = []

        def decide(application: Application) -> Sequence[Event]:
            appended[:] = application.retry() if _failed_at(application, failed_version) else []
            return list(appended)

        changed = await self._change(loaded, cause, decide)
        return changed if appended else None

    async def cancel(self, user_id: str, id: UUID, cause: Cause) -> Loaded:
        return await self._change(await self.find(user_id, id), cause, Application.cancel)

    # -- by workers ---------------------------------------------------------------------------------------------------

    async def load(self, id: UUID) -> Loaded | None:
        """None for an unknown application, and for a stream that is none."""
        recorded = await self.log.read_stream(id)
        return Loaded.of(recorded) if recorded and recorded[0].event.NAME.startswith("application.") else None

    async def reload(self, loaded: Loaded) -> Loaded:
        """What the log has by now, under the same start."""
        again = await self.load(loaded.application.id)
        assert again is not None, "a stream in the log stays there"
        return replace(again, start=loaded.start)

    async def start(self, loaded: Loaded, cause: Cause, claim: Claim) -> Loaded:
        """Starts it under a claim that is taken in the same append. Raises ClaimedElsewhere if another worker has it.

        If it has ended, then by then or by this, there is nothing to do and no claim is held. Raises Conflict if it
        has been queued again meanwhile: a newer message follows (contract messaging.md 3).
        """
        queued = loaded.application.queued_version

        def decide(application: Application) -> Sequence[Event]:
            if application.queued_version != queued:
                raise Conflict(f"Application {application.id.hex} has been queued again")
            return application.start(self.policy)

        started = await self._change(loaded, cause, decide, take=claim, release=claim)
        return replace(started, start=started.application.starts)

    async def begin_attempt(
        self, loaded: Loaded, cause: Cause, position: int, portal: str, delivery: Delivery, documents: Documents
    ) -> Loaded:
        """Raises AttemptRefused, also after a conflict, when this start is over: then nothing may be sent."""
        start = loaded.start
        return await self._change(
            loaded, cause, lambda a: a.begin_attempt(position, start, portal, delivery, documents)
        )

    async def settle(
        self, loaded: Loaded, cause: Cause, position: int, outcome: Verdict | str | None, release: Claim
    ) -> Loaded:
        """Records what came of an attempt: a verdict, or the reference (or None) of a portal that has the job.

        The claim is given back with the append that ends the application; without an append it stays.
        """
        start = loaded.start

        def decide(application: Application) -> Sequence[Event]:
            if isinstance(outcome, Verdict):
                return application.record_failed(position, start, outcome)
            return application.record_applied(position, outcome)

        return await self._change(loaded, cause, decide, release=release)

    async def pause(
        self, loaded: Loaded, cause: Cause, unfinished: Sequence[Unfinished], release: Claim | None
    ) -> Loaded:
        """Schedules the next try of the jobs that have no end, or fails them; gives the claim back in the same append.

        Without an append, because that start is over already, the claim stays.
        """
        start = loaded.start
        return await self._change(
            loaded, cause, lambda a: a.pause(start, unfinished, self.clock.now(), self.policy), release=release
        )

    async def requeue(self, loaded: Loaded, cause: Cause, reason: str) -> Loaded:
        """Raises Conflict if anything has happened since it was loaded: then it is not stuck."""
        return await self._append(loaded, loaded.application.requeue(reason), cause)

    async def reject(self, stream_id: UUID, event: MessageRejected, cause: Cause, *, redelivered: bool) -> None:
        """Records a message that no worker can act on, once."""
        for _ in range(CONFLICT_TRIES):
            version = len(await self.log.read_stream(stream_id))
            events = RejectedMessage(stream_id, version).reject(event, redelivered=redelivered)
            if not events:
                return
            recorded = recorded_events(stream_id, version, events, self.clock.now(), cause, None, self.clock)
            try:
                await self.log.append(Append(recorded))
            except Conflict:
                continue
            return
        raise Overloaded("The message is being rejected by too many at once")

    # -- load, decide, append -----------------------------------------------------------------------------------------

    @property
    def _appender(self) -> Appender:
        return Appender(self.log, self.clock)

    async def _change(
        self,
        loaded: Loaded,
        cause: Cause,
        decide: Decision,
        take: Claim | None = None,
        release: Claim | None = None,
        guard: Guard[Loaded] | None = None,
    ) -> Loaded:
        for _ in range(CONFLICT_TRIES):
            events = decide(loaded.application)
            try:
                return await self._append(loaded, events, cause, take, release, guard)
            except Conflict:
                loaded = await self.reload(loaded)
        raise Overloaded(f"Application {loaded.application.id.hex} is being changed by too many at once")

    async def _append(
        self,
        loaded: Loaded,
        events: Sequence[Event],
        cause: Cause,
        take: Claim | None = None,
        release: Claim | None = None,
        guard: Guard[Loaded] | None = None,
    ) -> Loaded:
        if not events:
            return loaded
        application, at = loaded.application, self.clock.now()
        after = reduce(Application.after, events, application)
        correlated = cause if cause.correlation_id else replace(cause, correlation_id=loaded.correlation_id)
        recorded = recorded_events(
            application.id, application.version, events, at, correlated, loaded.owner, self.clock
        )
        over = after.ended or after.queued_version > application.version  # what queues it again ends the work on it
        changed = replace(loaded, application=after, last_at=at)
        position = await self._appender.append(recorded, changed, guard, take, release if over else None)
        return replace(changed, position=position)


def _failed_at(application: Application, version: int) -> bool:
    return application.status is Status.FAILED and application.failed_version == version
