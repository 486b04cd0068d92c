"""Finds applications that nothing moves any more, and CVs that nobody names (design 7, last item).

A message may be lost though the log is not: a queue was purged, a broker's disk is gone. Such an application stays
pending or processing. The read model `status` names candidates; the log decides. One is queued again when its newest
event, and the retry that it may announce, lie longer than `STUCK_AFTER_SECONDS` back, and nobody has claimed it. Being
queued again is an event itself, so this happens at most once in that time. A Conflict says that it has just moved.

All this only while everything in the log is in the queue and the queue is short, so that a backlog is not doubled: of
the candidates, oldest first, no more than there are beyond the messages that still wait there. Never while processing
is switched off. It runs in the relay that has the lease; killed anywhere, it begins anew.

MongoDB is needed to find candidates, not to publish: while it is away, only this waits. One that waiting does not make
good, as a standalone server, ends the relay: it is a mistake to be told, and no other role goes on with it either.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from consumers.backoff import Backoff
from consumers.processing import claim_name
from consumers.relay_gauges import Depths, Outbox
from domain.application_events import RetryScheduled
from domain.commands import ApplicationCommands, Loaded
from domain.errors import Conflict, Overloaded, ReadModelBehind, StoreError
from domain.event import Cause, RecordedEvent
from domain.ports import Claims
from infra.cv_store import CvStore, Named
from infra.messages import QueueKind
from infra.mongo import Mongo
from infra.settings import Settings
from projections.queries import Answer, Queries

logger = logging.getLogger(__name__)

ACTOR = "worker:reconciler"
LOOK_SECONDS = 30.0  # at most, between two looks
CANDIDATES = 200
QUEUE_SHORT = 1_000  # messages
CV_LOOK_SECONDS = 3600.0
CV_KEPT = timedelta(days=1)


class Candidates(Protocol):
    """What the read models tell. All methods raise a StoreError."""

    async def stuck(self, before: datetime, limit: int) -> Sequence[str]:
        """Ids of applications that have not ended and whose newest event is older, the oldest first."""

    async def cv_is_named(self, cv_ids: Sequence[str]) -> Answer[set[str]]:
        """Those of these CVs that a submission names."""


class CvRemover(Protocol):
    async def remove_unused(self, before: datetime, named: Named) -> int:
        """Removes CVs stored before that time that no submission names. Raises a StoreError."""


OpenReads = Callable[[], AbstractAsyncContextManager[tuple[Candidates, CvRemover]]]


@asynccontextmanager
async def open_reads(settings: Settings) -> AsyncIterator[tuple[Candidates, CvRemover]]:
    """Those of a MongoDB that may be away. Raises MongoUnusable."""
    async with Mongo.of(settings) as mongo:
        yield Queries(mongo, settings.read_wait_seconds), CvStore(mongo)


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

    async def requeue_stuck(self) -> int:
        """Returns how many. Raises a StoreError, ReadModelBehind or Overloaded."""
        depth = await self._depth_if_all_is_given()
        if depth is None or depth >= QUEUE_SHORT:
            return 0
        before = self.commands.clock.now() - self.stuck_after
        ids = await self.queries.stuck(before, QUEUE_SHORT)
        lost = min(len(ids) - depth, CANDIDATES)  # the messages in the queue may be those of as many candidates
        if lost <= 0:
            return 0
        held = await self.claims.held([claim_name(UUID(id)) for id in ids[:lost]])
        free = [UUID(id) for id in ids[:lost] if claim_name(UUID(id)) not in held]
        return sum([await self._requeue(id, before) for id in free])

    async def _depth_if_all_is_given(self) -> int | None:
        return await self.depths.of(QueueKind.PROCESSING) if await self.outbox.has_given_all_work() else None

    async def _requeue(self, id: UUID, before: datetime) -> bool:
        recorded = await self.commands.log.read_stream(id)
        if not recorded or not is_stuck(recorded, before):
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
        return await self.cvs.remove_unused(self.commands.clock.now() - CV_KEPT, self._named)

    async def _named(self, cv_ids: Sequence[str]) -> set[str] | None:
        """Which of them a submission names; None while the read model does not know all submissions."""
        head = await self.commands.log.head()
        answer = await self.queries.cv_is_named(cv_ids)
        return answer.value if answer.position >= head else None


def is_stuck(recorded: Sequence[RecordedEvent], before: datetime) -> bool:
    """Whether an application has not ended, and has neither moved since nor waited for a retry that was due since."""
    if Loaded.of(recorded).application.ended:
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
    stuck_after = timedelta(seconds=settings.stuck_after_seconds)
    while True:
        try:
            async with reads() as (queries, cvs):
                reconciler = Reconciler(commands, claims, outbox, depths, queries, cvs, stuck_after)
                await _look_for_ever(reconciler, settings, backoff)
        except StoreError as error:
            await _wait(backoff, error)


async def _look_for_ever(reconciler: Reconciler, settings: Settings, backoff: Backoff) -> None:
    """Raises a StoreError."""
    pause = min(settings.stuck_after_seconds / 4, LOOK_SECONDS)
    cvs_due = 0.0
    while True:
        try:
            requeued = await reconciler.requeue_stuck() if settings.async_processing_enabled else 0
            if asyncio.get_running_loop().time() >= cvs_due:
                await reconciler.remove_unused_cvs()
                cvs_due = asyncio.get_running_loop().time() + CV_LOOK_SECONDS
            backoff.reset()
        except (ReadModelBehind, Overloaded) as error:
            requeued = 0
            await _wait(backoff, error)
        await asyncio.sleep(1.0 if requeued == CANDIDATES else pause)


async def _wait(backoff: Backoff, error: Exception) -> None:
    logger.warning("the reconciler waits", extra={"event_type": "reconciler_waits", "error": str(error)})
    await asyncio.sleep(backoff.seconds())
