"""`audit trail`: every event of one stream, as it is stored; also those that only a newer release can read."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from eventsourcing.persistence import StoredEvent

from api.cli.client.output import Output, Parts, plain, table, when, write
from api.cli.ending import CommandFailed
from infra.log_database import StoredAt

COLUMNS = ("Position", "Time", "Type", "Who", "Correlation ID")


def show(title: str, found: Sequence[StoredAt], output: Output) -> None:
    events = list(_events(found))
    if output.is_json:
        write(b"".join(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE) for event in events))
    else:
        output.show(events, lambda events: _parts(title, events))


def _events(found: Sequence[StoredAt]) -> Iterator[dict[str, Any]]:
    for stored, position in found:
        try:
            yield _event(stored, position)
        except (ValueError, LookupError, TypeError):
            raise CommandFailed(f"the event at position {position} is not as the service writes it") from None


def _event(stored: StoredEvent, position: int) -> dict[str, Any]:
    state = orjson.loads(stored.state)
    metadata, cause = state["metadata"], state["metadata"]["cause"]
    return {
        "position": position,
        "version": stored.originator_version,
        "occurred_at": metadata["at"],
        "type": stored.topic,
        "actor": cause["actor"],
        "correlation_id": cause["correlation_id"],
        "causation_id": cause["causation_id"],
        "event_id": metadata["event_id"],
        "schema_version": state["v"],
        "data": state["data"],
    }


def _parts(title: str, events: Sequence[dict[str, Any]]) -> Parts:
    rows = [
        [
            str(event["position"]),
            when(event["occurred_at"]),
            plain(event["type"]),
            plain(event["actor"]),
            plain(event["correlation_id"]),
        ]
        for event in events
    ]
    yield table(f"Events of {plain(title)}", COLUMNS, rows, whole="Type")
    yield f"{len(rows)} events"
