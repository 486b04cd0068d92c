"""GET /stream/status: the updates of a user's applications as server-sent events (contract http.md 13)."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import aclosing
from typing import Annotated

from aiohttp import hdrs, web
from pydantic import Field, WithJsonSchema

from api.errors import Problem, TooManyStreams, ValidationFailed
from api.keys import AUDIENCE, CLAIMS, CLOCK, EVENT_LOG, FIRST_BYTE_AT
from api.listeners import Ending, Listener
from api.operations import Bucket, Media, Operations
from api.ownership import EntryId, find_status
from api.parameters import Query, Repeated
from api.positions import POSITION_HEADER
from api.stream_messages import (
    EVENT_ID,
    EVENT_ID_SCHEMA,
    EVENT_STREAM,
    LAST_EVENT_ID,
    BatchUpdate,
    ConnectedEvent,
    StatusUpdate,
    connected_event,
)
from api.stream_sockets import bound_buffers, ending_with, log_end, say_goodbye, taken, until_over
from domain.errors import ApplicationNotFound, JobNotFound
from projections.queries import UpdateId

operations = Operations("Streams")

SILENCE_SECONDS = 15.0
RETRY = b"retry: 3000\n\n"
SIGN_OF_LIFE = b":\n\n"
HEADERS = {hdrs.CONTENT_TYPE: EVENT_STREAM, hdrs.CACHE_CONTROL: "no-store", "X-Accel-Buffering": "no"}


class StreamQuery(Query):
    application_id: Repeated = Field((), description="Only updates of these; ids of their entries are accepted too")
    last_event_id: Annotated[str, WithJsonSchema({"type": "string", **EVENT_ID_SCHEMA})] | None = Field(
        None, description="As the header Last-Event-ID, which goes before it"
    )


@operations.get(
    "/stream/status",
    answers=Media(
        EVENT_STREAM,
        events={"connected": ConnectedEvent, "status_update": StatusUpdate, "batch_update": BatchUpdate},
    ),
    query=StreamQuery,
    errors=(ValidationFailed, ApplicationNotFound, JobNotFound, TooManyStreams),
    bucket=Bucket.NONE,
    reads=True,
    token_in_query=True,
)
async def stream_status(request: web.Request, query: StreamQuery) -> web.StreamResponse:
    """Status changes of the caller's applications and batches, as server-sent events.

    With `Last-Event-ID` it goes on after that event, and none is missing; without, it begins now.
    """
    last_seen = await _last_seen(request, query)
    audience = request.app[AUDIENCE]
    with audience.listener(request[CLAIMS].user_id) as listener:
        listener.application_ids = await _own_applications(request, query.application_id)
        listener.after = last_seen or await audience.beginning()
        response = web.StreamResponse(headers={**HEADERS, POSITION_HEADER: str(listener.after.position)})
        if request.method == hdrs.METH_HEAD:
            return web.Response(headers=response.headers)
        return await _streamed(request, response, listener)


async def _last_seen(request: web.Request, query: StreamQuery) -> UpdateId | None:
    """Raises ValidationFailed for what is no id of an event, or of one that the log has not got to."""
    in_header = request.headers.get(LAST_EVENT_ID)
    name, sent = (LAST_EVENT_ID, in_header) if in_header else ("last_event_id", query.last_event_id)
    if not sent:
        return None
    found = re.fullmatch(EVENT_ID, sent)
    if found is None:
        raise _refused(name, "should be the id of an event")
    last = UpdateId(int(found[1]), int(found[2] or 0))
    if last.position and last.position > await request.app[EVENT_LOG].head():
        raise _refused(name, "is beyond the newest event")
    return last


def _refused(name: str, why: str) -> ValidationFailed:
    return ValidationFailed(f"{name} {why}", [Problem(why, name)])


async def _own_applications(request: web.Request, sent: Sequence[str]) -> frozenset[str]:
    """Raises ApplicationNotFound for an id that is not one of the caller's, JobNotFound for an entry's that is none."""
    ids = [EntryId.parse(text) for text in dict.fromkeys(sent)]
    await asyncio.gather(*(find_status(request, id) for id in ids))
    return frozenset(id.application_id.hex for id in ids)


async def _streamed(request: web.Request, response: web.StreamResponse, listener: Listener) -> web.StreamResponse:
    now = request.app[CLOCK].now()
    await response.prepare(request)
    request[FIRST_BYTE_AT] = asyncio.get_running_loop().time()
    bound_buffers(request)
    with ending_with(request, listener, now, request[CLAIMS].expires_at):
        ending = await until_over(listener, _send(request, response, listener))
    log_end(listener, "stream", ending)
    if ending is not Ending.GONE:
        await say_goodbye(request, _end(response, ending))
    return response


async def _send(request: web.Request, response: web.StreamResponse, listener: Listener) -> None:
    await taken(request, response.write(RETRY + connected_event(request.app[CLOCK].now())))
    async with aclosing(listener.updates(SILENCE_SECONDS)) as following:
        async for updates in following:
            await taken(request, response.write(b"".join([told.event for told in updates]) or SIGN_OF_LIFE))


async def _end(response: web.StreamResponse, ending: Ending) -> None:
    """A comment tells why, to who looks."""
    await response.write(b": %b\n\n" % ending.reason.encode())
    await response.write_eof()
