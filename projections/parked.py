"""Parked streams: a poison event parks its stream in that build, and all others go on (design 6).

One document a stream, beside the read model's own, written in the same commit. Later events of the stream are only
counted: an operator's decision reads them again from the log, from `version` on. No wall clock, so that a rebuild gives
the same bytes.
"""

import hashlib
import re

from domain.event import RecordedEvent
from projections.decisions import origin_of
from projections.read_model import Document

PREFIX = "parked:"
ERROR_LIMIT = 1_000
VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|\b[0-9a-f]{8,}\b|\d+")


class Poison(Exception):
    """An event that a read model cannot take, and why."""

    def __init__(self, recorded: RecordedEvent, error: Exception) -> None:
        self.recorded = recorded
        self.stream = recorded.stream_id.hex
        self.reason = f"{type(error).__name__}: {error}"[:ERROR_LIMIT].encode(errors="replace").decode()
        super().__init__(self.reason)


def parked_id(stream: str) -> str:
    return PREFIX + stream


def parked_stream(id: str) -> str:
    """The stream of such an id."""
    return id.removeprefix(PREFIX)


def parked_document(poison: Poison) -> Document:
    """`waiting` counts the later events of the stream; `concerns` is the user, so that his lists can be told."""
    recorded = poison.recorded
    owner = recorded.metadata.owner
    return {
        "_id": parked_id(poison.stream),
        "stream": poison.stream,
        "concerns": owner.user_id if owner else "",
        "position": origin_of(recorded),
        "version": recorded.version,
        "event_type": recorded.event.NAME,
        "error": poison.reason,
        "group": group_of(poison),
        "first_at": recorded.metadata.at,
        "waiting": 0,
    }


def group_of(poison: Poison) -> str:
    """The same for alike errors: ids, numbers and quoted words in the text do not count."""
    alike = f"{poison.recorded.event.NAME}\n{VARYING.sub('_', poison.reason)}"
    return hashlib.sha256(alike.encode()).hexdigest()[:12]
