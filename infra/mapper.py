"""Events to and from the bytes that the event log keeps, under a stable name."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson
from eventsourcing.persistence import StoredEvent
from pydantic import TypeAdapter

from domain.errors import NewerEvent
from domain.event import Event, Metadata, RecordedEvent
from domain.upcasts import UPCASTS

METADATA = TypeAdapter(Metadata)

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class _Read(Generic[E]):
    """What stored bytes hold, read in one step; what else they hold is ignored."""

    data: E
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class _Reader:
    """Of an event's bytes as this release writes them. `begin`: they begin so, and those of other versions do not."""

    begin: bytes
    read: Callable[[bytes], _Read[Event]]


@cache
def _reader_of(event: type[Event]) -> _Reader:
    generic: Any = _Read  # the type is only known here
    adapter: TypeAdapter[_Read[Event]] = TypeAdapter(generic[event])
    return _Reader(b'{"v":%d,' % event.VERSION, adapter.validator.validate_json)  # without the wrapper around it


class EventMapper:
    """Stores {"v": version, "data": ..., "metadata": ...} under the event's name (design 4)."""

    def to_stored_event(self, recorded: RecordedEvent) -> StoredEvent:
        event = recorded.event
        data, metadata = event.model_dump(mode="json"), METADATA.dump_python(recorded.metadata, mode="json")
        state = orjson.dumps({"v": event.VERSION, "data": data, "metadata": metadata})
        return StoredEvent(recorded.stream_id, recorded.version, event.NAME, state)

    def to_recorded_event(self, stored: StoredEvent, position: int) -> RecordedEvent:
        """Raises NewerEvent for a name or version that this release does not know."""
        event, metadata = self.read(stored.topic, stored.state)
        stream_id = stored.originator_id
        if not isinstance(stream_id, UUID):
            stream_id = UUID(stream_id)
        return RecordedEvent(stream_id, stored.originator_version, event, metadata, position)

    def event_id(self, state: bytes) -> UUID:
        """The id in stored bytes, whatever event they hold."""
        return UUID(orjson.loads(state)["metadata"]["event_id"])

    def occurred_at(self, state: bytes) -> datetime:
        """When, as stored bytes tell it, whatever event they hold."""
        return datetime.fromisoformat(orjson.loads(state)["metadata"]["at"])

    def read(self, name: str, state: bytes) -> tuple[Event, Metadata]:
        """What stored bytes say. Raises NewerEvent, and for bytes that no release wrote an error of some kind.

        In one step what is of the newest version, which nearly all is; else as data, raised step by step.
        """
        cls = Event.BY_NAME.get(name)
        if cls is not None:
            reader = _reader_of(cls)
            if state.startswith(reader.begin):
                read = reader.read(state)
                return read.data, read.metadata
        stored = orjson.loads(state)
        return self._event(name, stored["v"], stored["data"]), METADATA.validate_python(stored["metadata"])

    def _event(self, name: str, version: int, data: dict[str, Any]) -> Event:
        cls = Event.BY_NAME.get(name)
        if cls is None or version > cls.VERSION:
            raise NewerEvent(f"The log holds {name} version {version}, which this release does not know")
        for old in range(version, cls.VERSION):
            data = UPCASTS[name, old](data)
        return cls.model_validate(data)
