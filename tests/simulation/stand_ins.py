"""What a process of the simulation has besides the stores: a clock, a document writer, no CVs, and some reads."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from consumers.documents import DocumentRequest, WrittenDocuments
from domain.errors import ReadModelBehind, StoreUnavailable
from projections import status
from projections.queries import Answer, Stuck
from tests.simulation.log import EPOCH
from tests.simulation.loop import SimLoop
from tests.simulation.view import ViewServer


class SimClock:
    """`domain.ports.Clock` of one process, whose clock may go ahead or behind. Ids count up."""

    def __init__(self, loop: SimLoop, process: int, skew: float) -> None:
        self._loop, self._process, self._skew = loop, process, skew
        self._ids = 0

    def now(self) -> datetime:
        milliseconds = int((EPOCH + self._loop.time() + self._skew) * 1000)
        return datetime.fromtimestamp(milliseconds / 1000, UTC)

    def new_id(self, at: datetime) -> UUID:
        self._ids += 1
        random = self._process << 32 | self._ids
        return UUID(int=round(at.timestamp() * 1000) << 80 | 0x7 << 76 | 0b10 << 62 | random)


class Writer:
    """`consumers.documents.DocumentWriter`."""

    async def write(self, request: DocumentRequest) -> WrittenDocuments:
        return WrittenDocuments({"for": request.job["title"]}, None)


class NoCvs:
    """Where CVs are kept: there are none."""

    async def read(self, cv_id: str) -> bytes | None:
        return None

    async def remove_unused(self, age: timedelta, named: object) -> int:
        return 0


@dataclass(slots=True)
class Reads:
    """`consumers.reconciler.Candidates` over the read models in memory."""

    view: ViewServer

    async def stuck(self, before: datetime, limit: int, after: datetime | None) -> Stuck:
        await asyncio.sleep(self.view.chances.latency())
        if self.view.away or self.view.chances.happens():
            raise StoreUnavailable("MongoDB cannot be reached")
        build = self.view.live_build(status.NAME)
        if build is None:
            raise ReadModelBehind("The read model status is being built")
        waiting = [(doc["waiting_since"], id) for id, doc in build.documents.items() if doc.get("waiting_since")]
        found = [one for one in sorted(waiting) if one[0] < before and (after is None or one[0] > after)]
        last = found[limit - 1][0] if len(found) >= limit else None
        return Stuck([id for since, id in found if last is None or since <= last], last)

    async def cv_is_named(self, cv_ids: Sequence[str]) -> Answer[set[str] | None]:
        return Answer(set(), 0)


async def no_text(pdf: bytes) -> str | None:
    return None


async def never_seals() -> None:
    """Sealing writes files, and hands nothing on: it is no part of what is simulated."""
    await asyncio.Event().wait()
