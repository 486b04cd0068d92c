"""How far each read model is, and whether somebody projects it: what operators look at (contract http.md 15)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from infra.mongo import Mongo, mongo_errors
from projections.live import VERSIONS
from projections.mongo_view import BUILDS, CHECKPOINT
from projections.read_model import Document
from projections.view import BuildName


class State(StrEnum):
    RUNNING = "running"
    BUILDING = "building"  # not read yet: it catches up for the first time
    WAITING = "waiting"  # no process projects it now
    STOPPED = "stopped"  # it cannot go on


@dataclass(frozen=True, slots=True)
class Standing:
    """One read model of this release: its live build, or its newest one while none is live."""

    name: str
    version: int
    position: int
    parked: int
    state: State


async def standings(mongo: Mongo) -> Sequence[Standing]:
    """In the order of the read models. Raises StoreUnavailable, StoreTimeout or StoreFailed."""
    ids = [f"{model}.{version}" for model, version in VERSIONS.items()]
    with mongo_errors():
        known = {one["_id"]: one for one in await mongo.database[BUILDS].find({"_id": {"$in": ids}}).to_list(None)}
    return await asyncio.gather(
        *(_standing(mongo, model, version, known.get(f"{model}.{version}")) for model, version in VERSIONS.items())
    )


async def _standing(mongo: Mongo, model: str, version: int, builds: Document | None) -> Standing:
    if builds is None:
        return Standing(model, version, 0, 0, State.WAITING)
    live: int | None = builds["live"]
    build = BuildName(model, version, max(builds["numbers"]) if live is None else live)
    held = {"$set": {"held": {"$gt": ["$until", "$$NOW"]}}}  # by the server's clock, as the lease itself
    with mongo_errors():
        found = await mongo.snapshot(str(build)).aggregate([{"$match": {"_id": CHECKPOINT}}, held]).to_list(None)
    if not found:
        return Standing(model, version, 0, 0, State.WAITING)
    [checkpoint] = found
    return Standing(model, version, checkpoint["position"], checkpoint["parked"], _state(checkpoint, live is not None))


def _state(checkpoint: Document, live: bool) -> State:
    if checkpoint.get("state") == State.STOPPED:
        return State.STOPPED
    if not checkpoint["held"]:
        return State.WAITING
    return State.RUNNING if live else State.BUILDING
