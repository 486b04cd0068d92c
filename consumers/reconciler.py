"""Finds applications that nothing moves any more, and CVs that nobody names (design 7, last item).

A message may be lost though the log is not: a queue was purged, a broker's disk is gone. Such an application stays
pending or processing. The read model `status` names candidates; the log decides. One is queued again when its newest
event, and the retry that it may announce, lie longer than `STUCK_AFTER_SECONDS` back, and nobody has claimed it. Being
queued again is an event itself, so this happens at most once in that time. A Conflict says that it has just moved.

All this only while everything in the log is in the queue and the queue is short, so that a backlog is not doubled: of
those that are stuck, oldest first, no more than there are beyond the messages that still wait there. Never while
processing is switched off. It runs in the relay that has the lease; killed anywhere, it begins anew.

Many candidates may be none for long: somebody works on them, they wait for a retry, or their streams are parked in
`status`, which then tells of them what was true before. So a look takes one page of candidates and reads, in the log,
those that nobody works on; the next look goes on with the next page, and after the last with the oldest again. So
however many they are, they do not bar the way to those behind them. Each page is counted by itself against the
messages that wait: rather too few are queued again than too many.

A CV is unused when the log names it nowhere. `status` knows the CVs of all submissions up to its position, except those
that are parked in it and those that an operator has skipped there. While one is parked, no CV is judged; what was
skipped is looked up in the log.

MongoDB is needed to find candidates, not to publish: while it is away, only this waits. One that waiting does not make
good, as a standalone server, ends the relay: it is a mistake to be told, and no other role goes on with it either.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from consumers.backoff import Backoff
from consumers.processing import claim_name
from consumers.relay_gauges import Depths, Outbox
from domain.application_events import ApplicationSubmitted, RetryScheduled
from domain.commands import ApplicationCommands, Loaded
from domain.errors import Conflict, Overloaded, ReadModelBehind, StoreError
from domain.event import Cause, RecordedEvent
from domain.parked_decisions import decisions_stream, skipped
from domain.ports import Claims
from infra.cv_store import CvStore, Named
from infra.messages import QueueKind
from infra.mongo import Mongo
from infra.settings import Settings
from projections.queries import SUBMISSIONS, Answer, Queries, Stuck

logger = logging.getLogger(__name__)

ACTOR = "worker:reconciler"
LOOK_SECONDS = 30.0  # at most, between two looks
NEXT_LOOK_SECONDS = 5.0  # when there are more candidates: a look may read a thousand streams of the log
REQUEUED_MAX = 200  # in one look
QUEUE_SHORT = 1_000  # messages
CV_LOOK_SECONDS = 3600.0
CV_KEPT = timedelta(days=1)


class Candidates(Protocol):
    """What the read models tell. All methods raise a StoreError."""

    async def stuck(self, before: datetime, limit: int, after: datetime | None) -> Stuck:
        """A page of those that have not ended and whose newest event is older than that, and later than `after`."""

    async def cv_is_named(self, cv_ids: Sequence[str]) -> Answer[set[str] | None]:
        """Those of these CVs that a submission names, skipped ones left aside; None while that cannot be told."""


class CvRemover(Protocol):
    async def remove_unused(self, age: timedelta, named: Named) -> int:
        """Removes CVs stored longer ago than that, by its own clock, that no submission names. Raises a StoreError."""


OpenReads = Callable[[], AbstractAsyncContextManager[tuple[Candidates, CvRemover]]]


@asynccontextmanager
async def open_reads(settings: Settings) -> AsyncIterator[tuple[Candidates, CvRemover]]:
    """Those of a MongoDB that may be away. Raises MongoUnusable."""
    async with Mongo.of(settings) as mongo:
        yield Queries(mongo, settings.read_wait_seconds), CvStore(mongo)


@dataclass(slots=True)
class Place:
    """How far the looks have come; it outlives an outage, or each would begin anew with the oldest candidates.

    `more`: whether there are candidates that the last look did not come to.
    """

    after: datetime | None = None  # where the next look goes on
    more: bool = False


@dataclass(frozen=True, slots=True)
class Reconciler:
    """One relay's."""

    commands: ApplicationCommands
    claims: Claims
    outbox: Outbox
    depths: Depths
    queries: Candidates
    cvs: CvRemover
    stuck_after: timedelta
    place: Place = field(default_factory=Place)
    _cvs_of_skipped: dict[int, str | None] = field(default_factory=dict, init=False)  # by the event's position

    async def requeue_stuck(self) -> int:
        """One look. Returns how many. Raises a StoreError, ReadModelBehind or Overloaded."""
        self.place.more = False
        depth = await self._depth_if_all_is_given()
        if depth is None or depth >= QUEUE_SHORT:
            return 0
        before = self.commands.clock.now() - self.stuck_after
        page = await self.queries.stuck(before, QUEUE_SHORT, self.place.after)
        most = depth + REQUEUED_MAX
        stuck = await self._stuck_in_log(page.ids, before, depth, most)
        requeued = await self._requeue_lost(stuck, before, depth)
        if len(stuck) < most:  # else there may be more on this page
            self.place.after = page.last
        self.place.more = len(stuck) == most or page.last is not None
        return requeued

    async def _stuck_in_log(self, ids: Sequence[str], before: datetime, depth: int, most: int) -> Sequence[UUID]:
        """Those that nobody works on and that the log says are stuck, in their order; none if no more than `depth`."""
        held = await self.claims.held([claim_name(UUID(id)) for id in ids])
        free = [id for id in map(UUID, ids) if claim_name(id) not in held]
        stuck: list[UUID] = []
        if len(free) <= depth:
            return stuck
        for id in free:
            if is_stuck(await self.commands.log.read_stream(id), before):
                stuck.append(id)
            if len(stuck) == most:
                break
        return stuck

    async def _requeue_lost(self, stuck: Sequence[UUID], before: datetime, depth: int) -> int:
        lost = len(stuck) - depth  # the messages in the queue may be those of as many
        if lost <= 0:
            return 0
        return sum([await self._requeue(id, before) for id in stuck[:lost]])

    async def _depth_if_all_is_given(self) -> int | None:
        return await self.depths.of(QueueKind.PROCESSING) if await self.outbox.has_given_all_work() else None

    async def _requeue(self, id: UUID, before: datetime) -> bool:
        recorded = await self.commands.log.read_stream(id)
        if not is_stuck(recorded, before):
            return False
        loaded = Loaded.of(recorded)
        try:
            cause = Cause(ACTOR, traceparent=recorded[-1].metadata.cause.traceparent)  # its trace goes on
            await self.commands.requeue(loaded, cause, "Its message seems to be lost")
        except Conflict:
            return False
        extra = {"event_type": "application.requeued", **loaded.told}
        logger.warning("application was stuck and is queued again", extra=extra)
        return True

    async def remove_unused_cvs(self) -> int:
        """Returns how many. Raises a StoreError or ReadModelBehind."""
        return await self.cvs.remove_unused(CV_KEPT, self._named)

    async def _named(self, cv_ids: Sequence[str]) -> set[str] | None:
        """Which of them a submission names; None while the read model does not know all submissions.

        What was skipped is read after it: by then each submission that was parked is told by one of the two.
        """
        head = await self.commands.log.head()
        answer = await self.queries.cv_is_named(cv_ids)
        if answer.value is None or answer.position < head:
            return None
        return answer.value | (await self._named_by_skipped() & set(cv_ids))

    async def _named_by_skipped(self) -> set[str]:
        """The CVs of submissions that an operator has skipped in the read model. Each is read once: events stay."""
        decisions = await self.commands.log.read_stream(decisions_stream(SUBMISSIONS))
        for position in skipped(decisions) - self._cvs_of_skipped.keys():
            self._cvs_of_skipped[position] = await self._cv_at(position)
        return {cv_id for cv_id in self._cvs_of_skipped.values() if cv_id is not None}

    async def _cv_at(self, position: int) -> str | None:
        """The CV that the event at that position names, if it is a submission that names one."""
        found = [one.event for one in await self.commands.log.read(position - 1, 1) if one.position == position]
        return next((one.cv.id for one in found if isinstance(one, ApplicationSubmitted) and one.cv), None)


def is_stuck(recorded: Sequence[RecordedEvent], before: datetime) -> bool:
    """Whether an application has not ended, and has neither moved since nor waited for a retry that was due since."""
    if not recorded or Loaded.of(recorded).application.ended:
        return False
    due = [one.event.due_at for one in recorded if isinstance(one.event, RetryScheduled)]
    return max(recorded[-1].metadata.at, *due) < before if due else recorded[-1].metadata.at < before


async def run_reconciler(
    settings: Settings,
    commands: ApplicationCommands,
    claims: Claims,
    outbox: Outbox,
    depths: Depths,
    reads: OpenReads,
) -> None:
    """For ever, through outages of MongoDB. Raises MongoUnusable.

    What is asked is opened anew after an outage, as then only it is seen that a server of the wrong kind has come back.
    """
    backoff = Backoff()
    stuck_after, place = timedelta(seconds=settings.stuck_after_seconds), Place()
    while True:
        try:
            async with reads() as (queries, cvs):
                reconciler = Reconciler(commands, claims, outbox, depths, queries, cvs, stuck_after, place)
                await _look_for_ever(reconciler, settings, backoff)
        except StoreError as error:
            await _wait(backoff, error)


async def _look_for_ever(reconciler: Reconciler, settings: Settings, backoff: Backoff) -> None:
    """Raises a StoreError."""
    pause = min(settings.stuck_after_seconds / 4, LOOK_SECONDS)
    cvs_due = 0.0
    while True:
        try:
            if settings.async_processing_enabled:
                await reconciler.requeue_stuck()
            if asyncio.get_running_loop().time() >= cvs_due:
                await reconciler.remove_unused_cvs()
                cvs_due = asyncio.get_running_loop().time() + CV_LOOK_SECONDS
            backoff.reset()
        except (ReadModelBehind, Overloaded) as error:
            await _wait(backoff, error)
        await asyncio.sleep(min(NEXT_LOOK_SECONDS, pause) if reconciler.place.more else pause)


async def _wait(backoff: Backoff, error: Exception) -> None:
    logger.warning("the reconciler waits", extra={"event_type": "reconciler_waits", "error": str(error)})
    await asyncio.sleep(backoff.seconds())
