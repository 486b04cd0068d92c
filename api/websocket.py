"""WebSocket /ws/status: the updates of a user's applications as messages (contract http.md 12).

Nothing is replayed: what was told before it connected is for the status endpoint to tell.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime

import orjson
from aiohttp import WSMsgType, web

from api.door import authenticate
from api.errors import TooManyStreams, UpgradeRequired, kind_of
from api.keys import AUDIENCE, CLAIMS, CLOCK, FIRST_BYTE_AT, SETTINGS
from api.listeners import Ending, Listener
from api.operations import Bucket, Operations
from api.stream_messages import (
    BatchUpdate,
    ConnectedMessage,
    StatusUpdate,
    TimeMessage,
    connected_message,
    time_message,
)
from api.stream_sockets import (
    CLOSING_SECONDS,
    bound_buffers,
    ending_with,
    log_end,
    say_goodbye,
    taken,
    until_over,
)
from infra import metrics

logger = logging.getLogger(__name__)

operations = Operations("Streams")

MESSAGE_BYTES = 4096  # of a client, at most
HEARTBEAT_SECONDS = 30.0  # protocol pings; half of it later without a pong, the connection is dead
SILENCE_SECONDS = 3600.0  # of updates: nothing is said then
BAD_TOKEN, TOO_MANY = 4001, 1008
REASON_BYTES = 123  # as the protocol has it


@operations.get(
    "/ws/status",
    answers=None,
    statuses=(),
    bodiless={101: "The upgrade; what is wrong with a token is told by a close code"},
    errors=(UpgradeRequired,),
    bucket=Bucket.NONE,
    public=True,
    token_in_query=True,
    messages=(ConnectedMessage, StatusUpdate, BatchUpdate, TimeMessage),
)
async def follow_status(request: web.Request) -> web.StreamResponse:
    """Status changes of the caller's applications and batches, over a WebSocket.

    It is accepted whoever calls, and then closed with a code that says what is wrong: browsers show no other answer.
    """
    socket = web.WebSocketResponse(
        timeout=CLOSING_SECONDS, heartbeat=HEARTBEAT_SECONDS, compress=False, max_msg_size=MESSAGE_BYTES + 1
    )
    if not socket.can_prepare(request):
        raise UpgradeRequired("This is a WebSocket endpoint")
    await socket.prepare(request)
    request[FIRST_BYTE_AT] = asyncio.get_running_loop().time()
    bound_buffers(request)
    try:
        request[CLAIMS] = claims = await authenticate(request)
        with request.app[AUDIENCE].listener(claims.user_id) as listener:
            listener.after = await request.app[AUDIENCE].beginning()
            await _Conversation(request, socket, listener).hold(claims.expires_at)
    except Exception as error:  # an error's usual answer would be no frame
        code, reason = _refusal(error)
        await say_goodbye(request, socket.close(code=code, message=reason))
    return socket


class _Conversation:
    """What is said and heard on one WebSocket."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse, listener: Listener) -> None:
        self._request, self._socket, self._listener = request, socket, listener

    async def hold(self, expires_at: datetime | None) -> None:
        """Until it is over, whoever ends it."""
        metrics.WEBSOCKET_CONNECTIONS.inc()
        try:
            with ending_with(self._request, self._listener, self._now, expires_at):
                ending = await until_over(self._listener, self._send(), self._receive())
            log_end(self._listener, "WebSocket", ending)
            if ending is not Ending.GONE:
                goodbye = self._socket.close(code=ending.code, message=ending.reason.encode())
                await say_goodbye(self._request, goodbye)
        finally:
            metrics.WEBSOCKET_CONNECTIONS.dec()

    async def _send(self) -> None:
        await self._say(connected_message(self._now))
        async with aclosing(self._listener.updates(SILENCE_SECONDS)) as following:
            async for updates in following:
                await self._say(*(told.text for told in updates))

    async def _receive(self) -> None:
        silence = self._request.app[SETTINGS].ws_ping_interval_seconds
        while True:
            try:
                async with asyncio.timeout(silence):
                    message = await self._socket.receive()
            except TimeoutError:
                await self._say(time_message("ping", self._now))
                continue
            match message.type:
                case WSMsgType.TEXT:
                    await self._answer(message.data)
                case WSMsgType.BINARY:
                    pass
                case _:
                    return

    async def _answer(self, text: str) -> None:
        if text == "ping":
            await self._say(b"pong")
        elif _is_ping(text):
            await self._say(time_message("pong", self._now))

    async def _say(self, *texts: bytes) -> None:
        await taken(self._request, self._written(texts))

    async def _written(self, texts: Sequence[bytes]) -> None:
        for text in texts:
            await self._socket.send_frame(text, WSMsgType.TEXT)

    @property
    def _now(self) -> datetime:
        return self._request.app[CLOCK].now()


def _is_ping(text: str) -> bool:
    try:
        message = orjson.loads(text)
    except ValueError:
        return False
    return isinstance(message, dict) and message.get("type") == "ping"


def _refusal(error: Exception) -> tuple[int, bytes]:
    """Close code and reason. Our own failures are told as errors tell them: without the exception's text."""
    kind = kind_of(error)
    if kind.status == 401:
        logger.warning("token refused", extra={"event_type": "auth_failed", "error": kind.error})
        return BAD_TOKEN, _reason(str(error))
    if isinstance(error, TooManyStreams):
        return TOO_MANY, _reason(str(error))
    logger.error("WebSocket failed", exc_info=error, extra={"event_type": "stream_failed"})
    return Ending.FAILED.code, _reason(kind.message or Ending.FAILED.reason)


def _reason(text: str) -> bytes:
    """As much of it as a close frame holds."""
    return text.encode(errors="replace")[:REASON_BYTES].decode(errors="ignore").encode()
