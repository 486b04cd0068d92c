"""When a failed attempt is tried again (contract messaging.md 3)."""

from dataclasses import dataclass

RESTING_LIMIT_SECONDS = 15 * 60.0  # a job that waited so long for its portal (contract portals.md 2) or the log fails


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`max_retries` after the first attempt; delays in seconds, doubled from `base_delay` up to `max_delay`."""

    max_retries: int = 5
    base_delay: float = 1.0
    max_delay: float = 16.0

    def delay(self, retry: int) -> float:
        """Seconds before retry number `retry`, from 1. No jitter."""
        doublings = min(retry - 1, 64)  # beyond that the cap has long been reached
        return float(min(self.base_delay * 2**doublings, self.max_delay))
