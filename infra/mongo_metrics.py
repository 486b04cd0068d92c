"""What the MongoDB client tells of its commands and connections, as metrics (contract metrics.md 1).

It tells so in threads of its own. A build of a read model counts under the model's name, whatever its number. Asking a
change stream for more waits until something changes: it is counted, and its seconds are not, as they are no latency.
"""

from collections.abc import Mapping
from typing import Any

from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
    ConnectionCheckedInEvent,
    ConnectionCheckedOutEvent,
    ConnectionCheckOutFailedEvent,
    ConnectionPoolListener,
)

from infra import metrics

NO_COLLECTION = "none"
CONNECT = "connect"  # an operation of ours: to get a connection, or a server at all, which no command tells of
CHANGE_STREAM = "$cmd"  # of a whole database


class CommandTimes(CommandListener):
    """Counts each command and its seconds by collection."""

    def __init__(self) -> None:
        self._collections: dict[int, str] = {}  # of the commands under way, by request

    def started(self, event: CommandStartedEvent) -> None:
        self._collections[event.request_id] = collection_of(event.command_name, event.command)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        self._ended(event, "success")

    def failed(self, event: CommandFailedEvent) -> None:
        self._ended(event, "error")

    def _ended(self, event: CommandSucceededEvent | CommandFailedEvent, status: str) -> None:
        labels = {
            "operation": event.command_name,
            "collection": self._collections.pop(event.request_id, NO_COLLECTION),
        }
        metrics.DB_OPERATIONS_TOTAL.inc(**labels, status=status)
        if labels["collection"] != CHANGE_STREAM:
            metrics.DB_OPERATION_DURATION_SECONDS.observe(event.duration_micros / 1_000_000, **labels)


class ConnectionsInUse(ConnectionPoolListener):
    """How many more may be taken; `most` is the pool's limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        metrics.MONGODB_CONNECTION_POOL_AVAILABLE.set(most)

    def connection_checked_out(self, _: ConnectionCheckedOutEvent) -> None:
        metrics.MONGODB_CONNECTION_POOL_AVAILABLE.dec()

    def connection_checked_in(self, _: ConnectionCheckedInEvent) -> None:
        metrics.MONGODB_CONNECTION_POOL_AVAILABLE.inc()

    def connection_check_out_failed(self, _: ConnectionCheckOutFailedEvent) -> None:
        no_connection()

    # what else happens to a pool does not move a metric

    def pool_created(self, event: Any) -> None: ...
    def pool_ready(self, event: Any) -> None: ...
    def pool_cleared(self, event: Any) -> None: ...
    def pool_closed(self, event: Any) -> None: ...
    def connection_created(self, event: Any) -> None: ...
    def connection_ready(self, event: Any) -> None: ...
    def connection_closed(self, event: Any) -> None: ...
    def connection_check_out_started(self, event: Any) -> None: ...


def no_connection() -> None:
    """Something was to be asked, and could not be: without this, a server that is gone would have no failures."""
    metrics.DB_OPERATIONS_TOTAL.inc(operation=CONNECT, collection=NO_COLLECTION, status="error")


def collection_of(operation: str, command: Mapping[str, Any]) -> str:
    """The collection that a command is about, a build's by the name of its model."""
    name = command["collection"] if operation == "getMore" else command.get(operation)
    return name.partition(".")[0] if isinstance(name, str) else NO_COLLECTION
