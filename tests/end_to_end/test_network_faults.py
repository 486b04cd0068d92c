"""Each server behind a network that is slow, swallows, resets or drips: answers are bounded, and work goes on after it.

The times are scaled: STORM_SECONDS=30 is the long form.
"""

import asyncio
import os

import pytest

from tests.chaos.estate import Estate, Servers
from tests.chaos.plan import SERVERS, STORMS, Fault
from tests.chaos.round import LogReader, goes_on, under_load

STORM_SECONDS = float(os.environ.get("STORM_SECONDS", "0.5"))
ANSWERED_SECONDS = 31.0  # MONGO_SOCKET_TIMEOUT_MS is the longest bound of a request
BACK_SECONDS = 40.0  # reconnects wait for up to thirty


@pytest.mark.timeout(300 + 16 * (STORM_SECONDS + BACK_SECONDS if STORM_SECONDS > 1 else 0))
async def test_answers_are_bounded_and_work_goes_on(their_servers: Servers) -> None:
    loop = asyncio.get_running_loop()
    back: dict[str, float] = {}

    async def storm(on: Estate, log: LogReader) -> None:
        for server in (*SERVERS, "sandbox"):
            for weather in STORMS:
                await on.strike(Fault(0.0, server, weather, STORM_SECONDS))
                since = loop.time()
                await goes_on(on, log, BACK_SECONDS)
                back[f"{server}, {weather}"] = loop.time() - since

    outcome = await under_load(their_servers, "postgresql", storm, print, stormy=True)
    slowest = max(told.ended - told.began for asked in outcome.facts.asked for told in asked.told)
    print(outcome.told, *(f"{after:5.1f} s after {what}" for what, after in back.items()), sep="\n")
    print(f"slowest answer {slowest:.1f} s")
    assert not outcome.found, "\n".join(map(str, outcome.found))
    assert slowest < ANSWERED_SECONDS
