"""The hash chain over the log, and the signed checkpoints that pin it (contract cli.md 5: `audit verify`).

A checkpoint covers the events after the one before it, up to its own position. Its digest is the SHA-256 of the last
checkpoint's digest and of these events in canonical form, one after the other: so each digest stands for the whole log
up to there, and yet a part can be checked by itself. The form of an event is all that the log holds of it, byte by
byte: position, stream, version, type and stored bytes, with the lengths of the last two before them, so that no two
logs have the same form. A checkpoint also names the hash of the line before it, and is signed.

Who can write to the log, but does not have the key, can therefore not change, remove, insert or reorder what is sealed
without being found. What nobody can find from here: that the newest events were cut off together with the checkpoints
that cover them. For that, a copy of the checkpoints must be where the same hands do not reach.
"""

import hashlib
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Self, cast
from uuid import UUID

import orjson
from eventsourcing.persistence import StoredEvent

from infra.audit_keys import PublicKey, SigningKey
from infra.log_database import StoredAt

START = "0" * 64  # in place of what is before the first one
CONTEXT = b"application manager, checkpoint 1\n"  # so that no other text of ours can be taken for one
_HEAD = struct.Struct(">q16sqII")  # position, stream, version, bytes of the type, bytes of the state
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")


def canonical(stored: StoredEvent, position: int) -> bytes:
    """All that the log holds of an event."""
    try:
        stream, topic, state = cast(UUID, stored.originator_id).bytes, stored.topic.encode(), stored.state
        return _HEAD.pack(position, stream, stored.originator_version, len(topic), len(state)) + topic + state
    except (struct.error, AttributeError, TypeError, UnicodeError):
        # Not of our making, as SQLite takes any kind of value: a form that no event of ours has.
        return b"\xff" + repr((position, stored)).encode(errors="backslashreplace")


class Digest:
    """Of the events after a checkpoint, fed one by one."""

    def __init__(self, before: str = START) -> None:
        self._hash = hashlib.sha256(bytes.fromhex(before))
        self.count = 0

    def add(self, events: Iterable[StoredAt]) -> None:
        forms = [canonical(stored, position) for stored, position in events]
        self._hash.update(b"".join(forms))
        self.count += len(forms)

    @property
    def hex(self) -> str:
        return self._hash.hexdigest()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`number` counts from 1; `count` events end at `position`; `previous` is the hash of the line before."""

    number: int
    position: int
    count: int
    digest: str
    previous: str
    at: str  # UTC, ISO 8601
    key_id: str
    signature: str = ""  # 128 hexadecimal digits

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Raises ValueError for what is not, to the byte, a line that `line` gives."""
        try:
            fields = orjson.loads(line)
            kinds = [int, int, int, str, str, str, str, str]
            if [type(one) for one in fields.values()] != kinds:
                raise ValueError
            found = cls(**fields)
            if not _SHA256.fullmatch(found.digest) or not _SHA256.fullmatch(found.previous):
                raise ValueError
        except (ValueError, TypeError, AttributeError):
            raise ValueError("no checkpoint") from None
        if found.line != line:
            raise ValueError("no checkpoint as it was written")
        return found

    @property
    def line(self) -> bytes:
        return orjson.dumps(asdict(self))

    @property
    def hash(self) -> str:
        """What the next one names."""
        return hashlib.sha256(self.line).hexdigest()

    @property
    def content(self) -> bytes:
        """What is signed: all but the signature."""
        return CONTEXT + orjson.dumps(asdict(replace(self, signature="")))

    def signed_by(self, key: PublicKey) -> bool:
        """Only as it was written: hexadecimal digits have one form, base64 has several."""
        return bool(_SIGNATURE.fullmatch(self.signature)) and key.signed(self.content, bytes.fromhex(self.signature))


def sealed(last: Checkpoint | None, events: Sequence[StoredAt], key: SigningKey, at: datetime) -> Checkpoint:
    """The checkpoint after `last` over these events, which come next in the log."""
    digest = Digest(last.digest if last else START)
    digest.add(events)
    unsigned = Checkpoint(
        number=last.number + 1 if last else 1,
        position=events[-1][1],
        count=digest.count,
        digest=digest.hex,
        previous=last.hash if last else START,
        at=at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        key_id=key.public.id,
    )
    return replace(unsigned, signature=key.sign(unsigned.content).hex())
