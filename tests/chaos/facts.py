"""What is known after a round, from each who can tell: clients, event log, portal, read models, streams, processes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from domain.event import RecordedEvent
from tests.streams import Event

NO_ANSWER = 0


class Wish(StrEnum):
    """What a client wants done."""

    SUBMIT = "submit"
    BATCH = "batch"
    RETRY = "retry"
    CANCEL = "cancel"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Told:
    """One answer, or that none came (status NO_ANSWER). Times by the loop's clock."""

    api: str
    status: int
    began: float
    ended: float
    body: Any = None
    code: str | None = None
    retry_after: str | None = None
    position: int | None = None

    @property
    def done(self) -> bool:
        return 200 <= self.status < 300


@dataclass(slots=True)
class Asked:
    """One wish, sent once or, with an idempotency key, again and again. `tags`: what marks each application of it."""

    wish: Wish
    user: str
    tags: tuple[str, ...] = ()
    key: str | None = None
    application_id: str | None = None  # whom a retry, cancel or read is about
    told: list[Told] = field(default_factory=list)

    @property
    def done(self) -> Told | None:
        """The first 2xx."""
        return next((one for one in self.told if one.done), None)


@dataclass(frozen=True, slots=True)
class Outage:
    """When a process could not answer, by the loop's clock."""

    victim: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Facts:
    """`received`: the portal's entries by id. `live`, `rebuilt`: documents of each build as bytes."""

    asked: Sequence[Asked] = ()
    outages: Sequence[Outage] = ()
    log: Sequence[RecordedEvent] = ()
    received: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    statuses: Mapping[str, str] = field(default_factory=dict)
    applied: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    live: Mapping[str, Mapping[Any, bytes]] = field(default_factory=dict)
    rebuilt: Mapping[str, Mapping[Any, bytes]] = field(default_factory=dict)
    heard: Mapping[str, Sequence[Event]] = field(default_factory=dict)
    fell: Sequence[str] = ()  # what processes did that nobody asked for
