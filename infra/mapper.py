"""Events to and from the bytes that the event log keeps, under a stable name."""

from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from eventsourcing.persistence import StoredEvent
from pydantic import TypeAdapter

from domain.errors import NewerEvent
from domain.event import Event, Metadata, RecordedEvent
from domain.upcasts import UPCASTS

METADATA = TypeAdapter(Metadata)


class EventMapper:
    """Stores {"v": version, "data": ..., "metadata": ...} under the event's name (design 4)."""

    def to_stored_event(self, recorded: RecordedEvent) -> StoredEvent:
        event = recorded.event
        data, metadata = event.model_dump(mode="json"), METADATA.dump_python(recorded.metadata, mode="json")
        state = orjson.dumps({"v": event.VERSION, "data": data, "metadata": metadata})
        return StoredEvent(recorded.stream_id, recorded.version, event.NAME, state)

    def to_recorded_event(self, stored: StoredEvent, position: int) -> RecordedEvent:
        """Raises NewerEvent for a name or version that this release does not know."""
        state = orjson.loads(stored.state)
        event = self._event(stored.topic, state["v"], state["data"])
        metadata = METADATA.validate_python(state["metadata"])
        return RecordedEvent(UUID(str(stored.originator_id)), stored.originator_version, event, metadata, position)

    def event_id(self, state: bytes) -> UUID:
        """The id in stored bytes, whatever event they hold."""
        return UUID(orjson.loads(state)["metadata"]["event_id"])

    def occurred_at(self, state: bytes) -> datetime:
        """When, as stored bytes tell it, whatever event they hold."""
        return datetime.fromisoformat(orjson.loads(state)["metadata"]["at"])

    def _event(self, name: str, version: int, data: dict[str, Any]) -> Event:
        cls = Event.BY_NAME.get(name)
        if cls is None or version > cls.VERSION:
            raise NewerEvent(f"The log holds {name} version {version}, which this release does not know")
        for old in range(version, cls.VERSION):
            data = UPCASTS[name, old](data)
        return cls.model_validate(data)
