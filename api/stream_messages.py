"""What the streams say (contract http.md 12, 13): the messages of a WebSocket, and the data of events.

Updates come as the read model keeps them, and are passed on as they are; what is written here of them is for readers of
the API's description, and for the tests, which hold the two together.
"""

from datetime import datetime
from typing import Literal

import orjson
from pydantic import BaseModel

from api.ids import ApplicationId, BatchId
from domain.application_events import Status
from domain.batch import BatchStatus

EVENT_STREAM, LAST_EVENT_ID = "text/event-stream", "Last-Event-ID"
EVENT_ID = r"(0|[1-9][0-9]{0,17})(?:\.([1-9][0-9]{0,5}))?"  # a position, and which of its updates after the first
EVENT_ID_SCHEMA = {"pattern": f"^({EVENT_ID})?$"}  # an empty one counts as not sent
CONNECTED = "Connected: updates of your applications follow"


class ConnectedEvent(BaseModel):
    """First of all."""

    timestamp: datetime


class ConnectedMessage(BaseModel):
    """First of all."""

    type: Literal["connected"]
    message: str
    timestamp: datetime


class StatusUpdate(BaseModel):
    """An application's status has changed. `error_reason` is there only when it failed or was cancelled."""

    type: Literal["status_update"]
    application_id: ApplicationId
    status: Status
    timestamp: datetime
    job_count: int
    error_reason: str | None = None


class BatchUpdate(BaseModel):
    """What is told of a batch has changed. `processed` counts the items that have ended."""

    type: Literal["batch_update"]
    batch_id: BatchId
    status: BatchStatus
    total: int
    processed: int
    succeeded: int
    failed: int
    timestamp: datetime


class TimeMessage(BaseModel):
    """`ping` when the client was silent for a while; `pong` for its own ping."""

    type: Literal["ping", "pong"]
    timestamp: datetime


def connected_message(at: datetime) -> bytes:
    return _json({"type": "connected", "message": CONNECTED, "timestamp": at})


def connected_event(at: datetime) -> bytes:
    return b"event: connected\ndata: %b\n\n" % _json({"timestamp": at})


def time_message(type: Literal["ping", "pong"], at: datetime) -> bytes:
    return _json({"type": type, "timestamp": at})


def _json(message: dict[str, object]) -> bytes:
    return orjson.dumps(message, option=orjson.OPT_UTC_Z)
