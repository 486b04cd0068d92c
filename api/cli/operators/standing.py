"""How far each build is, and how fast: two looks, a second apart (contract cli.md 5: projections status)."""

import asyncio
from typing import Any

from api.cli.operators.stores import Stores
from api.lag import age_after
from infra.clock import SystemClock
from projections.standing import BuildStanding, build_standings

BETWEEN_SECONDS = 1.0


async def look(stores: Stores) -> dict[str, Any]:
    """What the second look has seen, with the head that the log had then."""
    before = {one.build: one.position for one in await build_standings(stores.mongo)}
    await asyncio.sleep(BETWEEN_SECONDS)
    found = await build_standings(stores.mongo)
    head = await stores.log.head()
    return {"head": head, "data": [await _told(stores, one, before.get(one.build), head) for one in found]}


async def _told(stores: Stores, one: BuildStanding, before: int | None, head: int) -> dict[str, Any]:
    behind = max(0, head - one.position)
    age = await age_after(stores.log, one.position, SystemClock()) if behind else 0.0
    return {
        "name": one.build.model,
        "version": one.build.version,
        "build": str(one.build),
        "use": one.use,
        "state": one.state,
        "position": one.position,
        "lag_events": behind,
        "lag_seconds": round(age, 3),
        "events_per_second": (one.position - (one.position if before is None else before)) / BETWEEN_SECONDS,
        "parked": one.parked,
        "holder": one.holder,
        "lease_seconds": one.lease_seconds,
        "dropped_at": one.dropped_at.isoformat() if one.dropped_at else None,
        "error": one.error,
    }
