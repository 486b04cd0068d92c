"""The log as messages: read once, and shared by all queues that are at the same place.

Each queue follows the log at its own pace. Reading and decoding is what costs, so a batch is read and turned into
messages once and kept for a while; whoever is far behind reads for itself, and finds the others again when it is near.

The feed also counts: a message that was read and is not yet published is pending, whatever holds it up.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from consumers.backoff import Backoff
from domain.errors import StoreError
from domain.event import RecordedEvent
from domain.ports import EventLog
from infra.messages import Message, QueueKind, QueueNames, messages_of

logger = logging.getLogger(__name__)

BATCH_EVENTS = 256
BATCHES_KEPT = 8
WAIT_SECONDS = 5.0  # then the log is asked anyway
GATHER_SECONDS = 0.02  # between two readings that are not full: what comes meanwhile is read at once


@dataclass(frozen=True, slots=True, eq=False)
class Parcel:
    """A message with the event that it comes from. `at`: since when it could have been published."""

    message: Message
    position: int
    stream_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class Batch:
    """The messages of the events after `after`, up to the one at `last`."""

    after: int
    last: int
    parcels: Mapping[QueueKind, Sequence[Parcel]]


class Feed:
    """What the log gives to the queues, from each one's checkpoint on."""

    def __init__(self, log: EventLog, names: QueueNames, checkpoints: Mapping[QueueKind, int]) -> None:
        self._log, self._names = log, names
        self._batches: deque[Batch] = deque(maxlen=BATCHES_KEPT)
        self._reading = asyncio.Lock()
        self._next_reading = 0.0  # not before then, by the loop's clock
        self._counted_to = dict(checkpoints)
        self.counts = dict.fromkeys(checkpoints, 0)  # messages found since the checkpoints

    async def after(self, position: int) -> Batch:
        """The next batch; it may begin before `position`, but ends after it. Waits until there is one.

        While the log is away it goes on trying. Raises NewerEvent.
        """
        backoff = Backoff()
        while True:
            try:
                if batch := await self._next(position):
                    return batch
            except StoreError as error:
                logger.warning("event log is away", extra={"event_type": "event_store_away", "error": str(error)})
                await asyncio.sleep(backoff.seconds())
            else:
                await self._log.wait(position, WAIT_SECONDS)

    async def count_to(self, head: int, batches: int) -> None:
        """Reads ahead of queues that are held up, at most so many batches, so that what is pending can be told."""
        for _ in range(batches):
            position = min(self._counted_to.values())
            if position >= head or not await self._next(position):
                return

    async def _next(self, position: int) -> Batch | None:
        batch = self._kept(position)
        if batch is None:
            async with self._reading:
                batch = self._kept(position) or await self._read(position)
        if batch is not None:
            self._count(batch)
        return batch

    async def _read(self, position: int) -> Batch | None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._next_reading - loop.time())
        recorded = await self._log.read(position, BATCH_EVENTS)
        if not recorded:
            return None
        if len(recorded) < BATCH_EVENTS:
            self._next_reading = loop.time() + GATHER_SECONDS
        batch = self._batch(position, recorded)
        self._batches.append(batch)
        return batch

    def _kept(self, position: int) -> Batch | None:
        return next((batch for batch in self._batches if batch.after <= position < batch.last), None)

    def _batch(self, after: int, recorded: Sequence[RecordedEvent]) -> Batch:
        parcels: dict[QueueKind, list[Parcel]] = {kind: [] for kind in QueueKind}
        for one in recorded:
            for message in messages_of(one, self._names):
                parcel = Parcel(message, one.position, one.stream_id, one.metadata.at)
                parcels[message.queue].append(parcel)
        return Batch(after, recorded[-1].position, parcels)

    def _count(self, batch: Batch) -> None:
        for kind, position in self._counted_to.items():
            if batch.after <= position < batch.last:
                self.counts[kind] += sum(parcel.position > position for parcel in batch.parcels[kind])
                self._counted_to[kind] = batch.last
