"""The form of an export: JSON Lines, in which each event stands with the very bytes that the log holds.

    {"export":"application-manager events","form":1,"complete":true,"from":null,"to":null,"user":null,"type":null}
    {"position":1,"stream_id":"...","version":1,"type":"application.submitted","event":{"v":1,"data":...,"metadata":...}}
    {"checkpoint":{"number":1,...}}
    {"end":{"events":12,"position":12}}

The first line says what it is of: the whole log, or which part. Then come the events, the checkpoints over them, and
the end, without which it is not whole. Who writes the lines anew with another tool changes bytes that are sealed.
What cannot stand in JSON, as only somebody else can have stored it, is there in base64.
"""

import re
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass
from typing import Self, cast
from uuid import UUID

import orjson
from eventsourcing.persistence import StoredEvent

from infra.log_database import StoredAt

KIND, FORM = "application-manager events", 1
EVENT, CHECKPOINT, END = b'{"position":', b'{"checkpoint":', b'{"end":'
_EVENT = re.compile(
    rb'\{"position":(-?\d+),"stream_id":"([0-9a-f]{32})","version":(\d+),"type":("[^"\\]+"),"event":(\{.*\})\}'
)


class NoExport(ValueError):
    """A line, or a file, is not of an export of ours. One line."""


@dataclass(frozen=True, slots=True)
class Header:
    """Positions are inclusive; None: no limit."""

    from_: int | None = None
    to: int | None = None
    user: str | None = None
    type: str | None = None

    @property
    def complete(self) -> bool:
        return self == Header()

    @property
    def without_gaps(self) -> bool:
        """All events between two positions."""
        return self.user is None and self.type is None

    @property
    def about(self) -> str:
        """For people."""
        told = {"from position": self.from_, "to position": self.to, "user": self.user, "type": self.type}
        return ", ".join(f"{name} {value}" for name, value in told.items() if value is not None)

    @property
    def line(self) -> bytes:
        asked = {"from": self.from_, "to": self.to, "user": self.user, "type": self.type}
        return orjson.dumps({"export": KIND, "form": FORM, "complete": self.complete, **asked})

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Raises NoExport."""
        try:
            told = orjson.loads(line)
            header = cls(told["from"], told["to"], told["user"], told["type"])
        except (ValueError, LookupError, TypeError):
            raise NoExport("the first line is not that of an export") from None
        if header.line != line:
            raise NoExport("the first line is not one that this release writes")
        return header


@dataclass(frozen=True, slots=True)
class End:
    """How many events the export holds, and the position up to which the log was looked at."""

    events: int
    position: int

    @property
    def line(self) -> bytes:
        return orjson.dumps({"end": asdict(self)})

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Raises NoExport."""
        try:
            end = cls(**orjson.loads(line)["end"])
        except (ValueError, LookupError, TypeError):
            raise NoExport("the last line is not that of an export") from None
        return end


def event_line(stored: StoredEvent, position: int) -> bytes:
    if _can_stand(stored.state):
        try:
            stream = cast(UUID, stored.originator_id).hex.encode()
            line = b'{"position":%d,"stream_id":"%b","version":%d,"type":%b,"event":%b}' % (
                position, stream, stored.originator_version, orjson.dumps(stored.topic), stored.state,
            )  # fmt: skip
        except (AttributeError, TypeError):
            line = b""
        if _EVENT.fullmatch(line):
            return line
    return _odd_line(stored, position)


def _odd_line(stored: StoredEvent, position: int) -> bytes:
    """Of what is not of our making: SQLite takes any kind of value."""
    state: object = stored.state
    told = {
        "position": position,
        "stream_id": str(stored.originator_id),
        "version": stored.originator_version,
        "type": str(stored.topic).encode(errors="backslashreplace").decode(),
        "base64": b64encode(state if isinstance(state, bytes) else str(state).encode()).decode(),
    }
    return orjson.dumps(told, default=str)


def _can_stand(state: object) -> bool:
    if not isinstance(state, bytes) or b"\n" in state or not (state.startswith(b"{") and state.endswith(b"}")):
        return False
    try:
        orjson.loads(state)
    except ValueError:
        return False
    return True


def read_event(line: bytes) -> StoredAt:
    """Raises NoExport."""
    found = _EVENT.fullmatch(line)
    if found:
        position, stream, version, topic, state = found.groups()
        return StoredEvent(UUID(stream.decode()), int(version), topic[1:-1].decode(), state), int(position)
    try:
        told = orjson.loads(line)
        state = b64decode(told["base64"])
        return StoredEvent(told["stream_id"], told["version"], told["type"], state), int(told["position"])
    except (ValueError, LookupError, TypeError):
        raise NoExport("no event as it was written") from None


def checkpoint_line(content: bytes) -> bytes:
    return CHECKPOINT + content + b"}"


def read_checkpoint(line: bytes) -> bytes:
    return line[len(CHECKPOINT) : -1]
