"""One batch: applications that were submitted together, in one append (contract http.md 7).

Its status follows from its items, so its own stream holds only that it was submitted and that it was cancelled.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import reduce
from uuid import UUID

from domain.application import Application
from domain.application_events import Status
from domain.errors import ApplicationAlreadyProcessed, ApplicationState
from domain.event import Event


class BatchStatus(StrEnum):
    PENDING = "pending"  # none started
    PROCESSING = "processing"
    COMPLETED = "completed"  # all succeeded
    PARTIAL = "partial"  # any other mix
    FAILED = "failed"  # none succeeded, at least one failed
    CANCELLED = "cancelled"  # all cancelled


class BatchSubmitted(Event, name="batch.submitted"):
    application_ids: tuple[UUID, ...]


class BatchCancelled(Event, name="batch.cancelled"):
    cancelled: tuple[UUID, ...]  # those that were pending
    retries: int  # retries of its items until then: one more opens it again


@dataclass(frozen=True, slots=True)
class Batch:
    """State of one batch. A command gives the events that follow from it, or raises and changes nothing."""

    id: UUID
    version: int = 0
    application_ids: tuple[UUID, ...] = ()
    cancelled_at_retries: int | None = None  # its items' retries when it was cancelled

    @classmethod
    def fold(cls, id: UUID, events: Iterable[Event]) -> "Batch":
        return reduce(Batch.after, events, cls(id))

    def submit(self, application_ids: tuple[UUID, ...]) -> Sequence[Event]:
        if self.version:
            raise ApplicationState(f"Batch {self.id.hex} has been submitted already")
        return [BatchSubmitted(application_ids=application_ids)]

    def cancel(self, items: Sequence[Application]) -> Sequence[Event]:
        """The pending items are taken back; what is in processing runs to its end (contract http.md 7.3)."""
        retries = sum(item.retries_requested for item in items)
        if batch_status([item.status for item in items]) not in {BatchStatus.PENDING, BatchStatus.PROCESSING}:
            raise ApplicationAlreadyProcessed(f"Batch {self.id.hex} has ended")
        if self.cancelled_at_retries == retries:
            raise ApplicationAlreadyProcessed(f"Batch {self.id.hex} has been cancelled")
        pending = tuple(item.id for item in items if item.status is Status.PENDING)
        return [BatchCancelled(cancelled=pending, retries=retries)]

    def after(self, event: Event) -> "Batch":
        """The state after an event. Never refuses: it has happened."""
        now = replace(self, version=self.version + 1)
        match event:
            case BatchSubmitted(application_ids=application_ids):
                return replace(now, application_ids=application_ids)
            case BatchCancelled(retries=retries):
                return replace(now, cancelled_at_retries=retries)
            case _:
                raise TypeError(f"not an event of a batch: {event!r}")


def batch_status(items: Sequence[Status], *, started: bool = False) -> BatchStatus:
    """What a batch is, from what its items are (contract http.md 7.2).

    `started`: an item has been started once, even if a retry made it pending again: then the batch is processing.
    """
    kinds = set(items)
    if kinds & {Status.PENDING, Status.PROCESSING}:
        begun = started or bool(kinds & {Status.PROCESSING, Status.SUCCESS, Status.FAILED})
        return BatchStatus.PROCESSING if begun else BatchStatus.PENDING
    if kinds == {Status.SUCCESS}:
        return BatchStatus.COMPLETED
    if kinds == {Status.CANCELLED}:
        return BatchStatus.CANCELLED
    return BatchStatus.PARTIAL if Status.SUCCESS in kinds else BatchStatus.FAILED
