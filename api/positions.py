"""Positions: how a caller reads what it wrote, through any API process (contract http.md 1.6)."""

import re

from aiohttp import web

from api.errors import Problem, ValidationFailed
from api.keys import EVENT_LOG

POSITION_HEADER = "X-Event-Position"
POSITION = re.compile(r"[0-9]{1,18}")


async def read_position(request: web.Request) -> int:
    """The position that the read must have reached, 0 if none is asked for.

    Raises ValidationFailed for what is no position, or one that the log has not got to.
    """
    sent = request.headers.get(POSITION_HEADER)
    if sent is None:
        return 0
    if not POSITION.fullmatch(sent):
        raise _refused("should be an integer from 0 on")
    position = int(sent)
    if position and position > await request.app[EVENT_LOG].head():
        raise _refused("is beyond the newest event")
    return position


def _refused(why: str) -> ValidationFailed:
    return ValidationFailed(f"{POSITION_HEADER} {why}", [Problem(why, POSITION_HEADER)])
