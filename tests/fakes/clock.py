"""`domain.ports.Clock` that moves only when it is told to."""

from datetime import datetime, timedelta
from uuid import UUID

from tests.builders import START


class FakeClock:
    """Ids count up, so each run gives the same."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._ids = 0

    def now(self) -> datetime:
        return self._now

    def new_id(self, at: datetime) -> UUID:
        self._ids += 1
        return UUID(int=round(at.timestamp() * 1000) << 80 | 0x7 << 76 | 0b10 << 62 | self._ids)

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
