"""One message that no worker could act on: recorded before it is acknowledged (contract messaging.md 3).

Its stream is named by `message_id` and bytes, so a redelivery is recorded once. Without a `message_id`, a delivery that
the broker does not mark as redelivered is another message with the same bytes: the next version.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from domain.event import Event

MESSAGES = UUID("6f0f7a35-5f6d-5ad9-8d2b-2d8d3a2f0c11")
RAW_LIMIT_BYTES = 64 * 1024


class MessageRejected(Event, name="message.rejected"):
    queue: str
    message_id: str | None
    application_id: str | None  # as the message says
    reason: str
    error_type: str
    raw: str | None  # its first 64 KiB, if they are UTF-8
    raw_base64: str | None  # else


def message_stream(message_id: str | None, body: bytes) -> UUID:
    return uuid5(MESSAGES, f"{message_id or ''}\x1f{body.hex()}")


@dataclass(frozen=True, slots=True)
class RejectedMessage:
    """State of one message that was rejected `version` times."""

    id: UUID
    version: int = 0

    def reject(self, event: MessageRejected, *, redelivered: bool) -> Sequence[Event]:
        """No event for one that is recorded already."""
        again = self.version > 0 and (bool(event.message_id) or redelivered)
        return [] if again else [event]


def raw_parts(body: bytes) -> dict[str, str | None]:
    """The `raw` or `raw_base64` of a body, cut to 64 KiB, never within a character."""
    cut = body[:RAW_LIMIT_BYTES]
    try:
        body.decode()
    except UnicodeDecodeError:
        return {"raw": None, "raw_base64": base64.b64encode(cut).decode()}
    return {"raw": cut.decode(errors="ignore"), "raw_base64": None}
