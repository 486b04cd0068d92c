"""From the log, and from what has become due, to the lanes: who gives the relay's parcels on."""

import asyncio
import logging
from dataclasses import dataclass
from uuid import uuid4

from consumers.backoff import Backoff
from consumers.feed import Feed, Parcel
from consumers.lane import Lane
from consumers.ledger import Ledger
from domain.errors import StoreError
from domain.ports import Clock
from infra.messages import QueueKind
from infra.relay_store import RelayStore

logger = logging.getLogger(__name__)

DUE_AT_ONCE = 200


@dataclass(slots=True)
class Follower:
    """Takes one queue's messages from the log to its lane."""

    kind: QueueKind
    feed: Feed
    lane: Lane
    ledger: Ledger
    clock: Clock
    passed: int  # all messages up to this position were given on

    @property
    def checkpoint(self) -> int:
        oldest = self.lane.oldest
        return oldest.position - 1 if oldest else self.passed

    async def run(self) -> None:
        """Raises NewerEvent."""
        while True:
            batch = await self.feed.after(self.passed)
            for parcel in batch.parcels[self.kind]:
                if parcel.position > self.passed:
                    await self._give_on(parcel)
                    self.passed = parcel.position
            self.passed = batch.last

    async def _give_on(self, parcel: Parcel) -> None:
        due_at = parcel.message.due_at
        if due_at is not None and due_at > self.clock.now():
            self.ledger.keep(parcel.message)
        else:
            await self.lane.put(parcel)


@dataclass(slots=True)
class DueMessages:
    """Publishes what was kept until now: a delayed retry, to the processing queue."""

    store: RelayStore
    lane: Lane
    ledger: Ledger
    clock: Clock

    async def run(self) -> None:
        """Raises LeaseLost. A crash between confirm and deletion publishes a message again."""
        backoff = Backoff()
        while True:
            await self._until_due()
            try:
                await self._publish_due()
                backoff.reset()
            except StoreError as error:
                extra = {"event_type": "due_messages_not_read", "error": str(error)}
                logger.warning("messages that are due cannot be read", extra=extra)
                await asyncio.sleep(backoff.seconds())

    @property
    def overdue(self) -> bool:
        """Whether something is due and not yet published."""
        left = self._seconds_left()
        return left is not None and left <= 0

    async def _until_due(self) -> None:
        while (wait := self._seconds_left()) is None or wait > 0:
            self.ledger.due_changed.clear()
            try:
                async with asyncio.timeout(wait):
                    await self.ledger.due_changed.wait()
            except TimeoutError:
                pass

    def _seconds_left(self) -> float | None:
        due = self.ledger.next_due
        return None if due is None else due - self.clock.now().timestamp()

    async def _publish_due(self) -> None:
        messages = await self.store.due(self.clock.now().timestamp(), DUE_AT_ONCE)
        for message in messages:
            assert message.due_at is not None, "it was kept until then"
            await self.lane.put(Parcel(message, 0, uuid4(), message.due_at))
        await self.lane.empty()
        await self.ledger.save(anyway=not messages)
