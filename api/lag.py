"""How far the read models are behind the log, told in seconds."""

from domain.ports import Clock, EventLog


async def age_after(log: EventLog, position: int, clock: Clock) -> float:
    """Seconds since the oldest event beyond a position happened, 0 if there is none."""
    oldest = await log.read(position, 1)
    return max(0.0, (clock.now() - oldest[0].metadata.at).total_seconds()) if oldest else 0.0
