"""Clients of the streams: server-sent events as a browser reads them, and WebSockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.api import User

SECONDS = 20.0  # for what must come


@dataclass(frozen=True, slots=True)
class Event:
    """`id` is None where none was sent with it."""

    name: str
    data: Any
    id: str | None = None


@dataclass(slots=True)
class EventStream:
    """What came, line by line, put together as the standard of server-sent events has it."""

    response: aiohttp.ClientResponse
    comments: list[str] = field(default_factory=list)
    retry: int | None = None

    async def next(self, seconds: float = SECONDS) -> Event | None:
        """The next event, None at the end of the stream."""
        async with asyncio.timeout(seconds):
            fields: dict[str, str] = {}
            async for line in self.response.content:
                name, _, value = line.decode().rstrip("\n").partition(":")
                value = value.removeprefix(" ")
                if not line.strip() and "data" in fields:
                    return Event(fields.get("event", "message"), json.loads(fields["data"]), fields.get("id"))
                if line.startswith(b":"):
                    self.comments.append(value)
                elif name == "retry":
                    self.retry = int(value)
                elif line.strip():
                    fields[name] = value
            return None

    async def some(self, count: int) -> list[Event]:
        """So many events, which must come."""
        events = [await self.next() for _ in range(count)]
        assert None not in events, "the stream has ended"
        return [event for event in events if event]

    async def rest(self) -> list[Event]:
        """All until the stream ends."""
        events: list[Event] = []
        while event := await self.next():
            events.append(event)
        return events


@asynccontextmanager
async def event_stream(
    user: User, *, last: str | None = None, headers: Mapping[str, str] | None = None, **query: Any
) -> AsyncIterator[EventStream]:
    """A stream that has said that it is connected. `last`: what the client has seen last."""
    sent = {"Authorization": f"Bearer {user.token}", **(headers or {})}
    if last is not None:
        sent["Last-Event-ID"] = last
    timeout = aiohttp.ClientTimeout(total=None)
    async with user.http.get(f"{user.url}/stream/status", headers=sent, params=query, timeout=timeout) as response:
        assert response.status == 200, await response.read()
        stream = EventStream(response)
        first = await stream.next()
        assert first is not None
        assert (first.name, first.id, list(first.data)) == ("connected", None, ["timestamp"])
        try:
            yield stream
        finally:
            response.close()


@asynccontextmanager
async def websocket(user: User, **more: Any) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """One that has said that it is connected."""
    async with user.http.ws_connect(f"{user.url}/ws/status?token={user.token}", **more) as socket:
        first = await heard(socket)
        assert (first["type"], sorted(first)) == ("connected", ["message", "timestamp", "type"])
        yield socket


async def heard(socket: aiohttp.ClientWebSocketResponse, seconds: float = SECONDS) -> Any:
    """The next message, which must come."""
    message = await socket.receive(seconds)
    assert message.type is aiohttp.WSMsgType.TEXT, message
    return json.loads(message.data)


async def closed(socket: aiohttp.ClientWebSocketResponse, seconds: float = SECONDS) -> tuple[int | None, str]:
    """Code and reason of its end; what it says before is passed over."""
    async with asyncio.timeout(seconds):
        while True:
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.CLOSE:
                return message.data, message.extra or ""
            assert message.type is aiohttp.WSMsgType.TEXT, message


def statuses(events: Sequence[Event]) -> list[tuple[str, str]]:
    """Id and status of each."""
    return [(str(event.id), event.data["status"]) for event in events]
