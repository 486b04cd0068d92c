"""How long to wait before something outside is tried again (contract messaging.md 3, 6)."""

import asyncio
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Seconds to wait: doubled from `first` to `longest`, and from the beginning again after a success."""

    first: float = 1.0
    longest: float = 30.0
    _next: float = 0.0

    def seconds(self) -> float:
        """The next wait."""
        wait = self._next or self.first
        self._next = min(wait * 2, self.longest)
        return wait

    def reset(self) -> None:
        self._next = 0.0


async def stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    """Waits so long, or until `stop` is set; whether it is."""
    if not stop.is_set():
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            return False
    return True
