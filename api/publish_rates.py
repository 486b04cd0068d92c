"""How fast the relay publishes into each queue, seen from its totals (contract http.md 9.1)."""

from collections import deque
from collections.abc import Mapping

WINDOW_SECONDS = 60.0


class PublishRates:
    """Fed with the totals as they are read, every 15 s."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Mapping[str, int]]] = deque()

    def saw(self, at: float, published: Mapping[str, int]) -> None:
        """`at` in seconds of any clock that does not go back; the totals by queue name."""
        self._seen.append((at, dict(published)))
        while len(self._seen) > 1 and self._seen[1][0] <= at - WINDOW_SECONDS:
            self._seen.popleft()

    def of(self, queue: str) -> float | None:
        """Messages a second over the last minute, or the time that is known of it; None before that."""
        if len(self._seen) < 2:
            return None
        (since, before), (until, now) = self._seen[0], self._seen[-1]
        return max(0.0, (now.get(queue, 0) - before.get(queue, 0)) / (until - since)) if until > since else None
