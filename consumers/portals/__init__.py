"""The portal port: what is handed to a job portal, and what may come of it (contract portals.md 1).

A portal *takes* a job when it has it for good. It is *reached* when a connection to it stands, whatever it answers.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from domain.application_events import Delivery

__all__ = [
    "Adapter",
    "Applied",
    "CvFile",
    "Delivery",
    "NotTaken",
    "Outcome",
    "Portal",
    "PortalResting",
    "Refused",
    "Submission",
    "Unknown",
]


# -- what goes in -----------------------------------------------------------------------------------------------------


class CvFile(Protocol):
    """The uploaded PDF. `size` in bytes; `sha256` in hex."""

    @property
    def id(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The file from its beginning, each time anew. Raises a StoreError when the store cannot give it."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One job of an application on its way to a portal, in its current round."""

    entry_id: str
    application_id: str
    user_id: str
    job: Mapping[str, Any]  # the fields of contract http.md 1.8
    documents: Mapping[str, Any]  # {"resume_optimized": object or null, "cover_letter": object or null}
    cv: CvFile | None
    idempotency_key: str  # <entry_id>-<round>
    correlation_id: str | None = None
    traceparent: str | None = None


# -- what comes out ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Applied:
    """The portal has it."""

    reference: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A definite no."""

    reason: str
    error_type: str = "PortalRefusedError"


@dataclass(frozen=True, slots=True)
class NotTaken:
    """Surely not processed. `retry_after` in seconds, as the portal asks; `unreachable` counts for the breaker."""

    reason: str
    error_type: str = "PortalUnavailableError"
    retry_after: float | None = None
    unreachable: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """The portal may or may not have it."""

    reason: str
    error_type: str = "OutcomeUnknownError"


Outcome = Applied | Refused | NotTaken | Unknown


# -- the ports --------------------------------------------------------------------------------------------------------


class Adapter(Protocol):
    """What a package adds for a portal of another kind, found by entry point. Made with its entry of `PORTALS`.

    Limits, circuit breaker and time limit are put around it (`limits.py`).
    """

    def __init__(self, entry: Mapping[str, Any]) -> None:
        """`entry` has the defaults filled in (contract config.md, `PORTALS`). ValueError if it cannot be used."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def submit(self, submission: Submission) -> Outcome:
        """Never raises for what a portal can do, and ends within the entry's `timeout` (seconds).

        Reads the beginning of the CV before it sends anything, and lets a StoreError of that through.
        """


class PortalResting(Exception):
    """The portal cannot be reached and rests: give the job back, uncounted, for `seconds` at least."""

    def __init__(self, portal: str, seconds: float) -> None:
        super().__init__(f"Portal {portal} cannot be reached, next try in {seconds:.1f} s")
        self.seconds = seconds


class Portal(Protocol):
    """One portal as the worker sees it, opened and closed by `registry.Portals`."""

    @property
    def name(self) -> str: ...
    @property
    def delivery(self) -> Delivery: ...

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Waits for the portal's own limits, how many at once and how many a second. Held around `submit`.

        Raises PortalResting while the circuit breaker rests; after each rest one job is let through.
        """

    async def submit(self, submission: Submission) -> Outcome:
        """Never raises for what a portal can do, and ends within the portal's time limit. Cancelling goes through.

        A StoreError of `cv.chunks()` comes through when the CV cannot even be begun: then nothing has been sent.
        """
