"""Clients of the streams that cost little themselves, beside a writer that makes changes as workers do.

Runs as a process of its own (`python -m tests.bench.stream_load`), reads its orders as JSON from standard input, and
prints what it saw. A delay is the client's clock less the event's time, which is before its append: rather too much
than too little.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import cast
from urllib.parse import urlsplit

import uvloop

from domain.event import RecordedEvent
from domain.ports import Append, EventLog
from infra.event_log import open_event_log
from tests.bench.projection import CLOCK, a_life
from tests.end_to_end.service import token

UPDATE = re.compile(rb'"type":"status_update".{1,200}?"timestamp":"([^"]+)"')
TAIL_BYTES = 400  # an update may come in two pieces
WS_PING, WS_PONG = b"\x89\x00", b"\x8a\x80\x00\x00\x00\x00"
CONNECTING_AT_ONCE = 50
TOLD_SECONDS = 30.0  # for the last of them
CHANGES = {"application.submitted", "application.processing_started", "application.succeeded"}


@dataclass(frozen=True, slots=True)
class Orders:
    """Half of each user's clients are WebSockets. The first `warm_up` changes are not measured."""

    url: str
    event_store: str
    users: int
    clients_of_user: int
    changes: int
    warm_up: int
    per_second: float


@dataclass(frozen=True, slots=True)
class Seen:
    told: int
    lacking: int
    p50_ms: float
    p99_ms: float
    longest_ms: float
    connected_seconds: float
    made_per_second: float


@dataclass(slots=True, eq=False)
class Listening(asyncio.Protocol):
    """One client: notes when which update came."""

    request: bytes
    delays: list[tuple[float, float]] = field(default_factory=list)  # when the change was made, and how long it took
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    _transport: asyncio.Transport = field(init=False)
    _tail: bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        if WS_PING in data:
            self._transport.write(WS_PONG)
        text, end = self._tail + data, 0
        for found in UPDATE.finditer(text):
            made = datetime.fromisoformat(found[1].decode()).timestamp()
            self.delays.append((made, now - made))
            end = found.end()
        self._tail = text[max(end, len(text) - TAIL_BYTES) :]
        if not self.connected.is_set() and b"connected" in text:
            self.connected.set()


def request_of(orders: Orders, user: str, *, websocket: bool) -> bytes:
    path, host = "/ws/status" if websocket else "/stream/status", urlsplit(orders.url).netloc
    upgrade = (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    more = upgrade if websocket else ""
    return f"GET {path}?token={token(user)} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode()


async def connect(orders: Orders, users: Sequence[str]) -> list[Listening]:
    loop, place = asyncio.get_running_loop(), urlsplit(orders.url)
    free = asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def one(user: str, number: int) -> Listening:
        async with free:
            client = Listening(request_of(orders, user, websocket=number % 2 == 0))
            await loop.create_connection(lambda: client, str(place.hostname), int(place.port or 80))
            await asyncio.wait_for(client.connected.wait(), 60)
            return client

    return await asyncio.gather(*(one(user, number) for user in users for number in range(orders.clients_of_user)))


async def make_changes(log: EventLog, users: Sequence[str], changes: int, per_second: float) -> float:
    """So many at least: lives of one application of each user, side by side. Gives the pace that it was."""
    began, made, appends = time.perf_counter(), 0, set[asyncio.Task[int]]()
    while made < changes:
        lives = [a_life(number, user) for number, user in enumerate(users)]
        for events in (events for stage in zip(*lives, strict=True) for events in stage):
            await asyncio.sleep(max(0.0, began + made / per_second - time.perf_counter()))
            append = asyncio.create_task(log.append(Append(happening_now(events))))
            appends.add(append)
            append.add_done_callback(appends.discard)
            made += any(one.event.NAME in CHANGES for one in events)
    await asyncio.gather(*appends)
    return made / (time.perf_counter() - began)


def happening_now(events: Sequence[RecordedEvent]) -> Sequence[RecordedEvent]:
    return [replace(one, metadata=replace(one.metadata, at=CLOCK.now())) for one in events]


async def run(orders: Orders) -> Seen:
    users = [f"user-{n}" for n in range(orders.users)]
    began = time.perf_counter()
    clients = await connect(orders, users)
    connected = time.perf_counter() - began
    async with open_event_log(orders.event_store) as store:
        await make_changes(store.log, users, orders.warm_up, orders.per_second)
        warm, before = time.time(), await store.log.head()
        pace = await make_changes(store.log, users, orders.changes, orders.per_second)
        made = [one for one in await _all_events(store.log, before) if one.event.NAME in CHANGES]
    expected = len(made) * orders.clients_of_user
    delays = await _told(clients, warm, expected)
    shares = [1000 * delays[int(len(delays) * share)] for share in (0.5, 0.99)]
    return Seen(len(delays), expected - len(delays), shares[0], shares[1], 1000 * delays[-1], connected, pace)


async def _all_events(log: EventLog, after: int) -> list[RecordedEvent]:
    found: list[RecordedEvent] = []
    while events := await log.read(found[-1].position if found else after, 1000):
        found += events
    return found


async def _told(clients: Sequence[Listening], warm: float, expected: int) -> list[float]:
    """The delays of what was made from then on, once all of it was told, or it has taken too long."""
    deadline = time.perf_counter() + TOLD_SECONDS
    while True:
        delays = [delay for client in clients for made, delay in client.delays if made >= warm]
        if len(delays) >= expected or time.perf_counter() > deadline:
            return sorted(delays)
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(run(Orders(**json.load(sys.stdin)))))))
