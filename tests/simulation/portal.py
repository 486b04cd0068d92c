"""Job portals: what they take they keep, by their own list, whatever becomes of the answer.

One takes idempotency keys and gives the same answer to the same key; the other takes none, and takes again what it is
sent again. A request that is on its way arrives, also when its sender has died.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from consumers.portals import Applied, Delivery, NotTaken, Outcome, Refused, Submission, Unknown
from tests.simulation.chances import Chances
from tests.simulation.loop import OUTSIDE, SimLoop

ANSWER_SECONDS = 3.0


@dataclass(eq=False, slots=True)
class PortalService:
    """`received` is called for each request that is looked at, `taken` holds what it has: entry to keys."""

    name: str
    delivery: Delivery
    loop: SimLoop
    chances: Chances
    away: bool = False
    refusals: float = 0.1  # of the jobs that come
    busy: float = 0.1
    received: Callable[["PortalService", Submission], None] = lambda service, submission: None
    taken: dict[str, list[str]] = field(default_factory=dict)

    def receive(self, submission: Submission) -> Outcome:
        self.received(self, submission)
        keys = self.taken.setdefault(submission.entry_id, [])
        if self.delivery is Delivery.AT_LEAST_ONCE and submission.idempotency_key in keys:
            return Applied(f"{self.name}-{submission.idempotency_key}")
        drawn = self.chances.random.random()
        if drawn < self.refusals or "[reject]" in str(submission.job["title"]):
            return Refused("Position closed")
        if drawn < self.refusals + self.busy or self.chances.happens(5):
            return NotTaken("503 Service Unavailable", retry_after=self.chances.random.choice((None, 0.2)))
        keys.append(submission.idempotency_key)
        return Applied(f"{self.name}-{submission.idempotency_key}")


@dataclass(slots=True)
class SimAdapter:
    """`consumers.portals.Adapter` of one worker."""

    service: PortalService

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def submit(self, submission: Submission) -> Outcome:
        service, chances, loop = self.service, self.service.chances, self.service.loop
        if service.away or chances.happens():
            await asyncio.sleep(chances.latency())
            return NotTaken("ConnectionRefusedError", "ConnectionRefusedError", unreachable=True)
        answer: asyncio.Future[Outcome] = loop.create_future()

        def arrive() -> None:
            if service.away or chances.happens():
                return  # lost on its way there
            outcome = service.receive(submission)
            slow = chances.random.choice((0.0, 0.0, 0.3, 2.0)) if chances.storm else 0.0
            if not chances.happens(2):  # else lost on its way back
                loop.call_later(chances.latency() + slow, tell, outcome, context=OUTSIDE)

        def tell(outcome: Outcome) -> None:
            if not answer.done():
                answer.set_result(outcome)

        loop.call_later(chances.latency(), arrive, context=OUTSIDE)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            return Unknown(f"no answer within {ANSWER_SECONDS:g} s", "TimeoutError")
