"""The machine's time and new ids."""

import secrets
from datetime import UTC, datetime
from uuid import UUID

RANDOM_BYTES, POOL_BYTES = 10, 4_000


class SystemClock:
    """`domain.ports.Clock` over the machine's clock. For one thread."""

    def __init__(self) -> None:
        self._pool = b""  # random bytes for the next ids: the kernel is asked for many at once
        self._used = 0

    def now(self) -> datetime:
        """UTC in whole milliseconds, as the read models keep it."""
        now = datetime.now(UTC)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    def new_id(self, at: datetime) -> UUID:
        """A UUIDv7 of that time (RFC 9562, 5.7): 48 bits of milliseconds, then version, variant and 74 random bits."""
        milliseconds = round(at.timestamp() * 1000)
        random = int.from_bytes(self._random())
        high, low = random >> 68, random & ((1 << 62) - 1)
        return UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low)

    def _random(self) -> bytes:
        if self._used == len(self._pool):
            self._pool, self._used = secrets.token_bytes(POOL_BYTES), 0
        self._used += RANDOM_BYTES
        return self._pool[self._used - RANDOM_BYTES : self._used]
