"""Clients of the stream that are cut off again and again, with API and projector killed in between, miss nothing.

STREAM_DISCONNECTS=1000 is the long form; then the event log is in PostgreSQL as well.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.api import User
from tests.chaos.histories import STATUSES
from tests.end_to_end.load import Ledger, load, reached
from tests.end_to_end.service import Client, Service, token, until
from tests.streams import Event, event_stream

DISCONNECTS = int(os.environ.get("STREAM_DISCONNECTS", "40"))
LONG = DISCONNECTS > 100
USERS = ("ada", "bob", "eve", "joe")
KILLS = max(2, DISCONNECTS // 50)
SEEN_AT_MOST = 5  # events of a visit


@pytest.fixture(params=["sqlite", "postgresql"] if LONG else ["sqlite"])
def service(
    request: pytest.FixtureRequest, tmp_path: Path, mongodb_uri: str, mongo_database: str, rabbitmq_url: str
) -> Service:
    event_store = request.getfixturevalue(f"{request.param}_url")
    return Service.on(
        tmp_path, mongodb=mongodb_uri, database=mongo_database, rabbitmq=rabbitmq_url, event_store=event_store
    )


@pytest.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    async with service.running() as client:
        yield client


@dataclass(slots=True)
class Follower:
    """A user whose connection breaks all the time."""

    user: User
    seen: list[Event] = field(default_factory=list)
    disconnects: int = 0

    async def follow(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, AssertionError):  # the last: a 503
                await self._visit(self.disconnects % SEEN_AT_MOST + 1)
            self.disconnects += 1
            await asyncio.sleep(0.02)

    async def _visit(self, count: int) -> None:
        last = self.seen[-1].id if self.seen else "0"
        async with event_stream(self.user, last=last) as stream:
            for _ in range(count):
                event = await stream.next(seconds=2.0)
                if event is None:
                    return
                self.seen.append(event)
            if stream.response.connection and stream.response.connection.transport:
                stream.response.connection.transport.abort()


@pytest.mark.timeout(3600 if LONG else 180)
async def test_each_client_hears_what_the_log_has_in_its_order(service: Service, client: Client) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        followers = [Follower(User(name, service.url, http, token(name))) for name in USERS]
        stop = asyncio.Event()
        following = [asyncio.create_task(one.follow(stop)) for one in followers]
        ledgers = await _load_with_kills(service, followers)
        for follower, ledger in zip(followers, ledgers, strict=True):
            client.user = follower.user.id
            await client.all_ended(ledger.answered, 120)
            histories = {id: await client.get(f"/applications/{id}/events") for id in ledger.answered}
            await until(lambda: _has_all(follower, histories), f"{client.user} has heard all", 60)  # noqa: B023
        stop.set()
        await asyncio.gather(*following)
    assert sum(one.disconnects for one in followers) >= DISCONNECTS


async def _load_with_kills(service: Service, followers: list[Follower]) -> list[Ledger]:
    """Submissions of every user, until there were enough disconnects; each role is killed in the midst of them."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(Client(service.url, service.sandbox_url, one.user.id)) for one in followers
        ]
        titles = ("Baker", "Miller [reject]", "Cook [fail:1]")
        loads = [
            await stack.enter_async_context(load(one, callers=1, pause=0.1, titles=titles[: number % 3 + 1]))
            for number, one in enumerate(clients)
        ]
        for kill in range(KILLS):
            goal = (kill + 1) * DISCONNECTS // KILLS
            await until(lambda: _disconnected(followers, goal), "the clients are cut off", 600)  # noqa: B023
            for role in ("projector", "api") if LONG or kill else ("api", "projector"):
                await service.kill(role)
                await service.start(role)
            await reached(loads[0], 3)
    return loads


async def _disconnected(followers: list[Follower], count: int) -> bool:
    return sum(one.disconnects for one in followers) >= count


async def _has_all(follower: Follower, histories: Mapping[str, Any]) -> bool:
    """Fails at once when it has heard something else, or in another order."""
    assert all(_key(one.id) < _key(other.id) for one, other in pairwise(follower.seen)), "twice, or out of order"
    heard: dict[str, list[tuple[str | None, str]]] = {id: [] for id in histories}
    for event in follower.seen:
        heard.setdefault(event.data["application_id"], []).append((event.id, event.data["status"]))
    expected = {id: _told(history["events"]) for id, history in histories.items()}
    for id, told in expected.items():
        assert heard[id] == told[: len(heard[id])], f"{id} was told otherwise than it happened"
    return all(heard[id] == told for id, told in expected.items())


def _told(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What a stream should have said of these events: ids and statuses, by rules of its own."""
    told = []
    for event in events:
        repeated = event["type"] == "application.processing_started" and event["data"]["previous"] == "processing"
        if event["type"] in STATUSES and not repeated:
            told.append((str(event["position"]), STATUSES[event["type"]]))
    return told


def _key(id: str | None) -> tuple[int, ...]:
    return tuple(map(int, str(id).split(".")))
