"""What an event is, where it stands in its stream, and what led to it."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class Event(BaseModel):
    """One thing that happened. Its stored form is public: a change is a new VERSION with an upcast.

    Fields that this release does not know are ignored: a newer one may have written them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    NAME: ClassVar[str]
    VERSION: ClassVar[int]
    BY_NAME: ClassVar[dict[str, type["Event"]]] = {}

    def __init_subclass__(cls, name: str, version: int = 1) -> None:
        super().__init_subclass__()
        cls.NAME, cls.VERSION = name, version  # stored instead of the module's path, so that code can move
        if Event.BY_NAME.setdefault(name, cls) is not cls:
            raise TypeError(f"two events are named {name}")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom an event concerns, so that a reader of this event alone knows it."""

    user_id: str
    job_count: int
    submitted_at: datetime
    batch_id: UUID | None = None
    batch_index: int | None = None  # from 0


@dataclass(frozen=True, slots=True)
class Cause:
    """Who wants something done, and what led to it.

    `actor` is `user:ID`, `worker:ID` or `operator:ID`; `causation_id` the event or message that led to it.
    """

    actor: str
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Metadata:
    """Who and what led to an event. `at` is UTC in whole milliseconds, as the read models keep it."""

    event_id: UUID
    at: datetime
    cause: Cause
    owner: Owner | None = None  # None: concerns no user


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event in its place: `version` counts from 1 in each stream, `position` over the whole log."""

    stream_id: UUID
    version: int
    event: Event
    metadata: Metadata
    position: int = 0  # 0 until it is in the log

    @property
    def owner(self) -> Owner:
        """The owner of an event that concerns a user."""
        if self.metadata.owner is None:
            raise TypeError(f"{self.event.NAME} {self.stream_id} has no owner")
        return self.metadata.owner
