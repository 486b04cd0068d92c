"""Submissions one after the other while a test does its worst, and the ledger of what was answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from tests.end_to_end.service import Client


@dataclass(slots=True)
class Ledger:
    """What clients were told: the ids that got their 2xx, and every refusal by its status (0: no answer)."""

    answered: list[str] = field(default_factory=list)
    refusals: dict[int, int] = field(default_factory=dict)

    def refused(self, status: int) -> None:
        self.refusals[status] = self.refusals.get(status, 0) + 1


@asynccontextmanager
async def load(
    client: Client, *, callers: int = 4, pause: float = 0.05, titles: tuple[str, ...] = ("Baker",)
) -> AsyncIterator[Ledger]:
    """Submits until the block ends; each caller waits `pause` seconds between two submissions."""
    ledger, stop = Ledger(), asyncio.Event()

    async def caller() -> None:
        while not stop.is_set():
            try:
                ledger.answered.append(await client.submit(*titles))
            except aiohttp.ClientResponseError as error:
                ledger.refused(error.status)
            except (aiohttp.ClientError, TimeoutError):
                ledger.refused(0)
            await asyncio.sleep(pause)

    running = [asyncio.create_task(caller()) for _ in range(callers)]
    try:
        yield ledger
    finally:
        stop.set()
        await asyncio.gather(*running)


async def reached(ledger: Ledger, count: int, seconds: float = 30.0) -> None:
    """Waits until so many more were answered."""
    goal = len(ledger.answered) + count
    async with asyncio.timeout(seconds):
        while len(ledger.answered) < goal:
            await asyncio.sleep(0.05)


def ended_within(count: int) -> float:
    """Seconds that so many applications may take once all is back: a minute for reconnecting, and their work."""
    return 60.0 + count / 20


async def all_applied(client: Client, count: int) -> bool:
    """Whether that many single jobs were applied, each once, and none failed."""
    listed = [
        (await client.get(path, limit="1"))["pagination"]["total_count"] for path in ("/applied", "/fail_applied")
    ]
    return listed == [count, 0]
