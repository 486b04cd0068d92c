"""One portal's limits, put around any adapter: how many at once, how many a second, and a circuit breaker
(contract portals.md 2).

The breaker's states:

    closed ──unreachable 5 times in a row──▶ resting ──the rest is over──▶ one try
       ▲                                        ▲                             │
       └──────────── any outcome but unreachable ┼────────────────────────────┤
                                                 └──unreachable: the rest doubles, 1 s to 30 s

Submissions that were admitted before a rest may begin and end during it. Their failure says nothing new and is not
counted; their success ends the rest. A try whose job goes away without calling the portal (its start is over, say) is
given to the next job at once. All of it is in memory: a worker that starts anew tries the portal anew.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from consumers.portals import Adapter, NotTaken, Outcome, PortalResting, Submission, Unknown
from consumers.portals.entry import PortalEntry
from domain.application_events import Delivery
from domain.errors import StoreError

logger = logging.getLogger(__name__)

UNREACHABLE_LIMIT = 5  # times in a row
FIRST_REST_SECONDS = 1.0
LONGEST_REST_SECONDS = 30.0
OVERDUE_SECONDS = 1.0  # beyond its own time limit, an adapter is stopped from outside, and knows less of the outcome

Clock = Callable[[], float]

# The number that this task's job was admitted with: some time may pass from there to its submission.
_admitted: ContextVar[int] = ContextVar("admitted")


@dataclass(slots=True)
class CircuitBreaker:
    """Counts how often a portal could not be reached, and lets nothing through while it rests."""

    portal: str
    clock: Clock = time.monotonic
    rest: int = 0  # counts the rests since the portal was last reached; an outcome is judged by that of its admission
    _failures: int = 0
    _until: float = 0.0
    _trying: bool = False

    def check(self) -> None:
        """Raises PortalResting unless a job may be let through now."""
        if not self.rest:
            return
        left = FIRST_REST_SECONDS if self._trying else self._until - self.clock()
        if left > 0:
            raise PortalResting(self.portal, left)

    @contextmanager
    def admit(self) -> Iterator[int]:
        """Lets one job through, or raises PortalResting; the number is for `record`.

        After a rest it is the only one while this is held.
        """
        self.check()
        rest = self.rest
        if not rest:
            yield rest
            return
        self._trying = True
        try:
            yield rest
        finally:
            if self.rest == rest:
                self._trying = False

    def record(self, outcome: Outcome, rest: int) -> None:
        """What came of a submission that was admitted with that number."""
        if not (isinstance(outcome, NotTaken) and outcome.unreachable):
            self._close()
        elif rest == self.rest:
            self._failures += 1
            if self.rest or self._failures >= UNREACHABLE_LIMIT:
                self._open(outcome.reason)

    def _open(self, reason: str) -> None:
        seconds = min(FIRST_REST_SECONDS * 2.0 ** min(self.rest, 16), LONGEST_REST_SECONDS)
        self.rest += 1
        self._until, self._trying = self.clock() + seconds, False
        extra = {"event_type": "portal_resting", "portal": self.portal, "seconds": seconds, "error": reason}
        logger.warning("Portal cannot be reached and rests", extra=extra)

    def _close(self) -> None:
        if self.rest:
            logger.info("Portal is reached again", extra={"event_type": "portal_reached", "portal": self.portal})
        self.rest, self._failures, self._trying = 0, 0, False


@dataclass(slots=True)
class Pace:
    """So many a second, evenly spaced, in the order of asking. None: as many as come."""

    rate: float | None
    clock: Clock = time.monotonic
    _next: float = 0.0

    def reserve(self) -> float:
        """Takes the next turn; the answer is the seconds until then."""
        if self.rate is None:
            return 0.0
        now = self.clock()
        turn = max(now, self._next)
        self._next = turn + 1 / self.rate
        return turn - now


@dataclass(slots=True)
class LimitedPortal:
    """A Portal: the adapter of one entry of `PORTALS` behind its limits."""

    name: str
    entry: PortalEntry
    adapter: Adapter
    clock: Clock = time.monotonic
    breaker: CircuitBreaker = field(init=False)
    _pace: Pace = field(init=False)
    _places: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.breaker = CircuitBreaker(self.name, self.clock)
        self._pace = Pace(self.entry.rate, self.clock)
        self._places = asyncio.Semaphore(self.entry.concurrency)

    @property
    def delivery(self) -> Delivery:
        return self.entry.delivery

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        self.breaker.check()  # before the wait as well: a resting portal's jobs do not queue up
        async with self._places:
            self.breaker.check()  # before a turn is taken
            if wait := self._pace.reserve():
                await asyncio.sleep(wait)
            with self.breaker.admit() as rest:
                _admitted.set(rest)
                yield

    async def submit(self, submission: Submission) -> Outcome:
        outcome = await self._outcome(submission)
        self.breaker.record(outcome, _admitted.get(self.breaker.rest))
        return outcome

    async def _outcome(self, submission: Submission) -> Outcome:
        """The adapter's, or Unknown for one that overruns its time or breaks its port's promise not to raise."""
        limit = self.entry.timeout
        try:
            async with asyncio.timeout(limit + OVERDUE_SECONDS):
                return await self.adapter.submit(submission)
        except TimeoutError:
            return Unknown(f"no answer within {limit:g} s", "TimeoutError")
        except StoreError:
            raise  # the CV could not be read, and nothing was sent
        except Exception as error:
            extra = {"event_type": "portal_adapter_failed", "portal": self.name, "entry_id": submission.entry_id}
            logger.exception("A portal adapter raised", extra=extra)
            return Unknown(f"{type(error).__name__} in the portal's adapter", type(error).__name__)
