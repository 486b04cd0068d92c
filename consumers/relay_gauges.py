"""What the relay shows of itself: what is not yet published, how old it is, how full the queues are (metrics.md 1)."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aio_pika.abc import AbstractConnection

from consumers.backoff import Backoff
from consumers.feed import Feed
from consumers.followers import DueMessages, Follower
from consumers.ledger import Ledger
from domain.errors import StoreError
from domain.ports import Clock, EventLog
from infra import metrics
from infra.messages import QueueKind, QueueNames
from infra.rabbitmq import BrokerError, connect, find_queue
from infra.relay_store import show

logger = logging.getLogger(__name__)

OUTBOX_SECONDS = 1.0
DEPTH_SECONDS = 15.0
CAUGHT_UP_SECONDS, CAUGHT_UP_LOOKS = 2.0, 20
BATCHES_AT_ONCE = 20  # read ahead to count what waits


@dataclass(frozen=True, slots=True)
class Outbox:
    """What was read from the log, or is due, and is not published."""

    log: EventLog
    feed: Feed
    followers: Sequence[Follower]
    due: DueMessages
    ledger: Ledger
    clock: Clock

    @property
    def pending(self) -> int:
        found, settled = self.feed.counts, self.ledger.settled
        return sum(found[kind] - settled[kind] for kind in QueueKind) + self.due.lane.in_hand

    @property
    def oldest_seconds(self) -> float:
        lanes = [self.due.lane, *(follower.lane for follower in self.followers)]
        first = min((lane.oldest.at for lane in lanes if lane.oldest), default=None)
        return 0.0 if first is None else max((self.clock.now() - first).total_seconds(), 0.0)

    async def has_given_all_work(self) -> bool:
        """Whether all work that stands in the log now, and what is due, is soon in its queue. Raises a StoreError."""
        head = await self.log.head()
        [work] = [follower for follower in self.followers if follower.kind is QueueKind.PROCESSING]
        for _ in range(CAUGHT_UP_LOOKS):
            if work.checkpoint >= head and not self.due.lane.in_hand and not self.due.overdue:
                return True
            await asyncio.sleep(CAUGHT_UP_SECONDS / CAUGHT_UP_LOOKS)
        return False

    async def watch(self) -> None:
        """Shows it for ever, and nothing of it afterwards: then another relay does."""
        try:
            while True:
                try:
                    await self.feed.count_to(await self.log.head(), BATCHES_AT_ONCE)
                except StoreError as error:
                    extra = {"event_type": "event_store_away", "error": str(error)}
                    logger.warning("what is pending cannot be counted", extra=extra)
                metrics.OUTBOX_PENDING.set(self.pending)
                metrics.OUTBOX_OLDEST_SECONDS.set(self.oldest_seconds)
                show(self.ledger.saved_totals)
                await asyncio.sleep(OUTBOX_SECONDS)
        finally:
            metrics.OUTBOX_PENDING.set(0)
            metrics.OUTBOX_OLDEST_SECONDS.set(0)


class Depths(Protocol):
    """How many messages are ready in each queue."""

    async def of(self, kind: QueueKind) -> int | None:
        """As it is now; None while the broker is away."""

    async def watch(self) -> None:
        """Shows them for ever."""


@dataclass(frozen=True, slots=True)
class QueueDepths:
    """`Depths` as RabbitMQ tells them."""

    url: str
    names: QueueNames

    async def of(self, kind: QueueKind) -> int | None:
        """As it is now; None while the broker is away."""
        try:
            async with connect(self.url, "relay look") as connection:
                return await self._of(connection, kind)
        except BrokerError:
            return None

    async def watch(self) -> None:
        """Shows them for ever, and nothing of them afterwards: then another relay does."""
        backoff = Backoff()
        try:
            while True:
                try:
                    async with connect(self.url, "relay depths") as connection:
                        while True:
                            for kind in QueueKind:
                                await self._of(connection, kind)
                            backoff.reset()
                            await asyncio.sleep(DEPTH_SECONDS)
                except BrokerError:
                    await asyncio.sleep(backoff.seconds())
        finally:
            for kind in QueueKind:
                metrics.QUEUE_DEPTH.set(0, queue_name=self.names.of(kind))

    async def _of(self, connection: AbstractConnection, kind: QueueKind) -> int:
        found = await find_queue(connection, self.names.of(kind))
        depth = found.messages if found else 0
        metrics.QUEUE_DEPTH.set(depth, queue_name=self.names.of(kind))
        return depth
