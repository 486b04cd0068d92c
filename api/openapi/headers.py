"""The headers that many calls share, each told once (contract http.md 1.3 to 1.6)."""

from typing import Any

from aiohttp import hdrs

from api.correlation import HEADERS as CORRELATION_HEADERS
from api.idempotency import KEY_HEADER, REPLAYED_HEADER
from api.operations import Bucket, Media, Operation
from api.positions import POSITION_HEADER
from api.stream_messages import EVENT_ID_SCHEMA, EVENT_STREAM, LAST_EVENT_ID

EVERYWHERE = CORRELATION_HEADER, REQUEST_HEADER = CORRELATION_HEADERS
LIMIT_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
COUNT = {"type": "integer", "minimum": 0}
LATEST_POSITION = 2**53 - 1  # what every reader of JSON can hold

Node = dict[str, Any]


def _parameter(name: str, description: str, schema: Node, example: Any) -> Node:
    return {"name": name, "in": "header", "description": description, "schema": schema, "example": example}


SENT: Node = {
    CORRELATION_HEADER: _parameter(
        CORRELATION_HEADER,
        "Joins all that this request leads to. 1 to 128 characters of `A-Z a-z 0-9 . _ : / + = @ -`; without one, "
        f"`{REQUEST_HEADER}`, then a new one is taken",
        {"type": "string"},
        "monday-import-1",
    ),
    REQUEST_HEADER: _parameter(
        REQUEST_HEADER,
        f"As `{CORRELATION_HEADER}`, where that is missing or cannot be used",
        {"type": "string"},
        "monday-import-1",
    ),
    KEY_HEADER: _parameter(
        KEY_HEADER,
        "The same request, sent again with the same key within 24 hours, is done once and gets the first one's answer",
        {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]{1,255}$"},
        "monday-import-1",
    ),
    LAST_EVENT_ID: _parameter(
        LAST_EVENT_ID,
        "The id of the last event that was seen: all that came after it come first",
        {"type": "string", **EVENT_ID_SCHEMA},
        "",
    ),
    POSITION_HEADER: _parameter(
        POSITION_HEADER,
        "The position that a write told: the read waits until it shows that write",
        {**COUNT, "maximum": LATEST_POSITION},
        0,
    ),
}


def _header(description: str, schema: Node, *, required: bool = True) -> Node:
    return {"description": description, "required": required, "schema": schema}


TOLD: Node = {
    CORRELATION_HEADER: _header("The id of this request", {"type": "string"}),
    REQUEST_HEADER: _header(f"The same as `{CORRELATION_HEADER}`", {"type": "string"}),
    "X-RateLimit-Limit": _header("How many calls the bucket holds. Absent where limits are off", COUNT, required=False),
    "X-RateLimit-Remaining": _header("How many are left after this one", COUNT, required=False),
    "X-RateLimit-Reset": _header(
        "Unix time in seconds at which the oldest counted call leaves the window", COUNT, required=False
    ),
    POSITION_HEADER: _header("The position of this write in the log; or which a read shows, at least", COUNT),
    REPLAYED_HEADER: _header(
        "The answer is that of the key's first use", {"type": "string", "const": "true"}, required=False
    ),
    hdrs.RETRY_AFTER: _header("Seconds after which another try makes sense", {"type": "integer", "minimum": 1}),
    hdrs.WWW_AUTHENTICATE: _header("How to authenticate", {"type": "string", "const": "Bearer"}),
    hdrs.CONTENT_DISPOSITION: _header("The file's name", {"type": "string", "pattern": "^attachment; filename="}),
    hdrs.ALLOW: _header("The methods of this path", {"type": "string"}),
    hdrs.UPGRADE: _header("What to change to", {"type": "string", "const": "websocket"}),
    hdrs.CONNECTION: _header("What goes with it", {"type": "string", "const": "Upgrade"}),
    hdrs.LOCATION: _header("Where to go instead", {"type": "string"}),
}


def sent_with(operation: Operation) -> list[Node]:
    """What a caller may send with it."""
    names = [*EVERYWHERE]
    if operation.reads:
        names.append(POSITION_HEADER)
    if is_idempotent(operation):
        names.append(KEY_HEADER)
    if isinstance(operation.answers, Media) and operation.answers.content_type == EVENT_STREAM:
        names.append(LAST_EVENT_ID)
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def told_with(operation: Operation, *, success: bool) -> Node:
    """What comes with its answers, or with its errors."""
    names = [*EVERYWHERE]
    if operation.bucket is not Bucket.NONE:
        names += LIMIT_HEADERS
    if success and (operation.reads or operation.writes):
        names.append(POSITION_HEADER)
    if success and is_idempotent(operation):
        names.append(REPLAYED_HEADER)
    if success and isinstance(operation.answers, Media) and operation.answers.file:
        names.append(hdrs.CONTENT_DISPOSITION)
    return headers(*names)


def headers(*names: str) -> Node:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def is_idempotent(operation: Operation) -> bool:
    """Whether it takes a key (contract http.md 1.5)."""
    return operation.method == hdrs.METH_POST and not operation.public
