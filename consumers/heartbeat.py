"""A role's sign of life (contract config.md, `/health/live`)."""

import asyncio
from typing import Protocol

BEAT_SECONDS = 1.0


class Heartbeat(Protocol):
    def beat(self) -> None:
        """The role's loop has turned."""

    def says(self, need: str, well: bool) -> None:
        """Whether something that the role needs can be used now."""


async def beat_for_ever(heartbeat: Heartbeat) -> None:
    """While the loop turns; a role that waits in a back-off is alive too."""
    while True:
        heartbeat.beat()
        await asyncio.sleep(BEAT_SECONDS)
