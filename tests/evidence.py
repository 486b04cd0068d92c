"""A log that is sealed, as tests of the hash chain have it: events as they are stored, checkpoints, keys."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.audit_keys import SigningKey
from infra.log_database import StoredAt
from infra.mapper import EventMapper
from infra.seals import Checkpoint, sealed
from tests.builders import an_application

_PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNING_KEY = _PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
KEY = SigningKey.of(_PRIVATE)
AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


def stored_events(streams: int) -> list[StoredAt]:
    """Applications of different users that were submitted, processed and applied, their events in turn."""
    to_stored = EventMapper().to_stored_event
    stories = [
        an_application(UUID(int=0x0190 << 112 | number + 1), f"user-{number}")
        .submitted()
        .started()
        .attempted(1)
        .applied(1)
        .succeeded()
        .recorded()
        for number in range(streams)
    ]
    in_turn = [recorded for step in zip(*stories, strict=True) for recorded in step]
    return [(to_stored(recorded), position) for position, recorded in enumerate(in_turn, 1)]


def checkpoints_over(events: Sequence[StoredAt], every: int) -> list[Checkpoint]:
    """One after each `every` events; those that are left over are not sealed."""
    made: list[Checkpoint] = []
    for begin in range(0, len(events) - every + 1, every):
        made.append(sealed(made[-1] if made else None, events[begin : begin + every], KEY, AT))
    return made
