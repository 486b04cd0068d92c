"""The machine's time and new ids."""

import secrets
from datetime import UTC, datetime
from uuid import UUID


class SystemClock:
    """`domain.ports.Clock` over the machine's clock."""

    def now(self) -> datetime:
        """UTC in whole milliseconds, as the read models keep it."""
        now = datetime.now(UTC)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    def new_id(self, at: datetime) -> UUID:
        """A UUIDv7 of that time (RFC 9562, 5.7): 48 bits of milliseconds, then version, variant and 74 random bits."""
        milliseconds = round(at.timestamp() * 1000)
        random = int.from_bytes(secrets.token_bytes(10))
        high, low = random >> 68, random & ((1 << 62) - 1)
        return UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low)
