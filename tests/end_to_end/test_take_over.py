"""Two projectors, two relays, three workers, each killed once under load: the others take over, and nothing is twice.

Work goes on within TAKEN_OVER_SECONDS of each kill: all that was submitted before it, and in the second after it, has
ended and is shown, although its worker, relay or projector is dead. Claims and leases last as long as they do by
default. TAKE_OVER_STORES=sqlite,postgresql is the long form.
"""

import asyncio
import os

import pytest

from tests.chaos.estate import Estate, Servers
from tests.chaos.plan import ROLES
from tests.chaos.round import LogReader, goes_on, under_load

TAKEN_OVER_SECONDS = 10.0
MORE_SECONDS = 1.0  # of submissions after the kill
STORES = os.environ.get("TAKE_OVER_STORES", "postgresql").split(",")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", STORES)
async def test_each_is_taken_over_within_seconds(their_servers: Servers, store: str) -> None:
    seconds: dict[str, float] = {}

    async def kill_each(on: Estate, log: LogReader) -> None:
        await asyncio.sleep(2)
        for role in ROLES:
            if role.startswith(("projector", "relay", "worker")):
                seconds[role] = await taken_over(on, log, role)

    outcome = await under_load(their_servers, store, kill_each, print, CLAIM_SECONDS="5")
    print(outcome.told, *(f"{role} {after:.1f} s" for role, after in seconds.items()), sep="\n")
    assert not outcome.found, "\n".join(map(str, outcome.found))
    assert max(seconds.values()) < TAKEN_OVER_SECONDS, seconds


async def taken_over(on: Estate, log: LogReader, role: str) -> float:
    """Kills it, gives the seconds until its work is done without it, and starts it again."""
    loop = asyncio.get_running_loop()
    async with on.absent(role):
        killed_at = loop.time()
        await asyncio.sleep(MORE_SECONDS)
        await goes_on(on, log, 60)
        return loop.time() - killed_at
