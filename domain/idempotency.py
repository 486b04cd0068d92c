"""One idempotency key: which answer its first use got (contract http.md 1.5).

The use is appended together with what it guards, so of many at the same moment one wins the key and the work at once.
After its lifetime the next use is the next version of the same stream.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from domain.errors import IdempotencyKeyReused
from domain.event import Event, RecordedEvent

KEYS = UUID("0d2f6d0a-8a2f-5b0e-9d55-3c1c2ff6a6b1")


class KeyUsed(Event, name="idempotency.key_used"):
    content_hash: str  # SHA-256 of what was asked, hexadecimal
    status: int
    body: str  # the answer's bytes, which are UTF-8


def key_stream(user_id: str, method: str, path: str, key: str) -> UUID:
    """The stream of a key: keys of other users, methods or paths never meet."""
    return uuid5(uuid5(KEYS, user_id), f"{method} {path} {key}")


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """State of one key."""

    id: UUID
    version: int = 0
    used: KeyUsed | None = None
    used_at: datetime | None = None
    position: int = 0

    @classmethod
    def fold(cls, id: UUID, recorded: Iterable[RecordedEvent]) -> "IdempotencyKey":
        """The state after its uses; only the newest counts."""
        state = cls(id)
        for one in recorded:
            if not isinstance(one.event, KeyUsed):
                raise TypeError(f"not an event of an idempotency key: {one.event!r}")
            state = cls(id, one.version, one.event, one.metadata.at, one.position)
        return state

    def replay(self, content_hash: str, now: datetime, lifetime_seconds: float) -> KeyUsed | None:
        """The stored answer to the same request, or None when the key is free.

        Raises IdempotencyKeyReused if it was used for other content.
        """
        if self.used is None or self.used_at is None or now >= self.used_at + timedelta(seconds=lifetime_seconds):
            return None
        if self.used.content_hash != content_hash:
            raise IdempotencyKeyReused("The idempotency key was used for another request")
        return self.used

    def use(self, content_hash: str, status: int, body: str) -> Sequence[Event]:
        """Its answer, to be appended with what the request made."""
        return [KeyUsed(content_hash=content_hash, status=status, body=body)]
