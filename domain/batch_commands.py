"""Commands of a batch: each is one append over the batch and its items (contract http.md 7, design 4).

Killed before the append, nothing is there; after it, all of it is. In an append the event of the batch stands after
those of its items, which name it as their cause.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from domain.appending import Appender, Guard, recorded_events
from domain.application import Application
from domain.application_events import Status
from domain.batch import Batch
from domain.commands import CONFLICT_TRIES, Loaded
from domain.errors import BatchNotFound, Conflict, Overloaded
from domain.event import Cause, Event, Owner, RecordedEvent
from domain.job import CvReference, Job
from domain.ports import Clock, EventLog


@dataclass(frozen=True, slots=True)
class Item:
    """One application of a batch, as its user sent it."""

    jobs: tuple[Job, ...]
    style: str | None


@dataclass(frozen=True, slots=True)
class SubmittedBatch:
    """A batch that is in the log; its position is known once it is."""

    batch_id: UUID
    application_ids: tuple[UUID, ...]
    created_at: datetime
    position: int = 0


@dataclass(frozen=True, slots=True)
class CancelledBatch:
    """`cancelled` counts the items that were taken back."""

    batch_id: UUID
    cancelled: int
    position: int


@dataclass(frozen=True, slots=True)
class _Loaded:
    batch: Batch
    owner: Owner
    items: Sequence[Loaded]


@dataclass(frozen=True, slots=True)
class BatchCommands:
    """What they raise besides: what `EventLog` does."""

    log: EventLog
    clock: Clock

    async def submit(
        self,
        user_id: str,
        items: Sequence[Item],
        cv: CvReference | None,
        cause: Cause,
        guard: Guard[SubmittedBatch] | None = None,
    ) -> SubmittedBatch:
        """All applications at once; durable when this returns. The CV must be stored before.

        Raises DuplicateRequest.
        """
        at = self.clock.now()
        batch_id = self.clock.new_id(at)
        ids = tuple(self.clock.new_id(at) for _ in items)
        owner = Owner(user_id, sum(len(item.jobs) for item in items), at, batch_id)
        of_batch = recorded_events(batch_id, 0, Batch(batch_id).submit(ids), at, cause, owner, self.clock)
        because = _because(cause, of_batch)
        of_items: list[RecordedEvent] = []
        for index, (id, item) in enumerate(zip(ids, items, strict=True)):
            events = Application(id).submit(item.jobs, item.style, cv)
            mine = replace(owner, job_count=len(item.jobs), batch_index=index)
            of_items += recorded_events(id, 0, events, at, because, mine, self.clock)
        submitted = SubmittedBatch(batch_id, ids, at)
        position = await self._appender.append([*of_items, *of_batch], submitted, guard)
        return replace(submitted, position=position)

    async def cancel(self, user_id: str, batch_id: UUID, cause: Cause) -> CancelledBatch:
        """Takes back what is pending; what is in processing runs to its end.

        Raises BatchNotFound, ApplicationAlreadyProcessed as `Batch.cancel` does, and Overloaded when its items are
        changed by others each time: then nothing was changed.
        """
        for _ in range(CONFLICT_TRIES):
            loaded = await self._find(user_id, batch_id)
            try:
                return await self._cancel(loaded, cause)
            except Conflict:
                continue
        raise Overloaded(f"Batch {batch_id.hex} is being changed by too many at once")

    async def _find(self, user_id: str, batch_id: UUID) -> _Loaded:
        recorded = await self.log.read_stream(batch_id)
        if not recorded or not recorded[0].event.NAME.startswith("batch.") or recorded[0].owner.user_id != user_id:
            raise BatchNotFound(batch_id.hex)
        batch = Batch.fold(batch_id, (one.event for one in recorded))
        items = await asyncio.gather(*(self.log.read_stream(id) for id in batch.application_ids))
        return _Loaded(batch, recorded[0].owner, [Loaded.of(item) for item in items])

    async def _cancel(self, loaded: _Loaded, cause: Cause) -> CancelledBatch:
        batch, at = loaded.batch, self.clock.now()
        events = batch.cancel([item.application for item in loaded.items])
        of_batch = recorded_events(batch.id, batch.version, events, at, cause, loaded.owner, self.clock)
        because = _because(cause, of_batch)
        pending = [item for item in loaded.items if item.application.status is Status.PENDING]
        of_items = [event for item in pending for event in self._taken_back(item, at, because)]
        position = await self._appender.append([*of_items, *of_batch], None, None)
        return CancelledBatch(batch.id, len(pending), position)

    def _taken_back(self, item: Loaded, at: datetime, cause: Cause) -> Sequence[RecordedEvent]:
        application = item.application
        events: Sequence[Event] = application.cancel()
        return recorded_events(application.id, application.version, events, at, cause, item.owner, self.clock)

    @property
    def _appender(self) -> Appender:
        return Appender(self.log, self.clock)


def _because(cause: Cause, of_batch: Sequence[RecordedEvent]) -> Cause:
    """The cause of the items' events: that of the batch."""
    return replace(cause, causation_id=of_batch[-1].metadata.event_id.hex)
