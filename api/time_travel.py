"""`as_of`: a read answered as it would have been at a position of the log, or at a time (contract http.md 1.6a)."""

from datetime import datetime
from typing import Annotated

from aiohttp import web
from pydantic import BeforeValidator, Field, WithJsonSchema

from api.errors import Problem, ValidationFailed
from api.keys import CLOCK, EVENT_LOG
from api.openapi.headers import COUNT, LATEST_POSITION
from api.parameters import Query, parse_datetime
from api.positions import POSITION

Moment = int | datetime
POSITION_SCHEMA = {**COUNT, "maximum": LATEST_POSITION}


def _moment(text: object) -> object:
    """Digits are a position."""
    if not isinstance(text, str):
        return text
    if POSITION.fullmatch(text):
        return int(text)
    try:
        return parse_datetime(text)
    except ValueError as error:
        raise ValueError(f"{error}, or a position") from None


AsOf = Annotated[
    Moment | None,
    BeforeValidator(_moment),
    WithJsonSchema({"anyOf": [POSITION_SCHEMA, {"type": "string", "format": "date-time"}]}),
    Field(description="As it was at this position of the log, or with every event that had occurred by then"),
]


class Past(Query):
    """Of a read that can tell the past; without `as_of`, it tells the present."""

    as_of: AsOf = None


async def position_of(request: web.Request, as_of: Moment) -> int:
    """Raises ValidationFailed for what has not come yet: what it shows would change."""
    log = request.app[EVENT_LOG]
    if isinstance(as_of, datetime):
        if as_of > request.app[CLOCK].now():
            raise refused("has not come yet")
        return await log.position_at(as_of)
    if as_of > await log.head():
        raise refused("is beyond the newest event")
    return as_of


def refused(why: str) -> ValidationFailed:
    return ValidationFailed(f"as_of {why}", [Problem(why, "as_of")])
