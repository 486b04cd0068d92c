"""Users who follow their stream by whichever API process is there, and go on where they were cut off."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from tests.api import User
from tests.chaos.callers import USERS
from tests.end_to_end.service import token
from tests.streams import Event, event_stream

SILENCE_SECONDS = 10.0  # then the client looks elsewhere; the service sends a comment every 15 s
AGAIN_SECONDS = 0.3


@dataclass(slots=True)
class Listeners:
    """`heard`: what each user was told, in the order in which it came."""

    apis: Mapping[str, str]
    seed: int
    http: aiohttp.ClientSession
    heard: dict[str, list[Event]] = field(default_factory=lambda: {user: [] for user in USERS})

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        running = [asyncio.create_task(self._listen(user)) for user in USERS]
        try:
            yield
        finally:
            for one in running:
                one.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _listen(self, user: str) -> None:
        dice = random.Random(f"{self.seed} {user}")
        heard = self.heard[user]
        while True:
            api = dice.choice(list(self.apis))
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, AssertionError):  # the last: a 503
                caller = User(user, self.apis[api], self.http, token(user))
                async with event_stream(caller, last=str(heard[-1].id) if heard else "0") as stream:
                    while event := await stream.next(SILENCE_SECONDS):
                        heard.append(event)
            await asyncio.sleep(AGAIN_SECONDS)
