"""How far each read model is, and whether somebody projects it: what operators look at (contract http.md 15)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from infra.mongo import Mongo, mongo_errors
from projections.live import VERSIONS
from projections.read_model import Document
from projections.registry import CHECKPOINT, Registered, Registry
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


class Use(StrEnum):
    """What a build is for."""

    LIVE = "live"
    BUILDING = "building"  # for the next switch, or for the first time
    KEPT = "kept"  # for a roll-back
    OLD = "old"  # until exports that read it have ended


@dataclass(frozen=True, slots=True)
class BuildStanding:
    """One build of this release's schema versions. `lease_seconds`: how long its holder has it without a renewal."""

    build: BuildName
    use: Use
    position: int
    parked: int
    state: State
    holder: str | None
    lease_seconds: float
    dropped_at: datetime | None
    error: str | None  # why it stopped


async def standings(mongo: Mongo) -> Sequence[Standing]:
    """In the order of the read models. Raises StoreUnavailable, StoreTimeout or StoreFailed."""
    known = await Registry(mongo, VERSIONS).all()
    return await asyncio.gather(
        *(_standing(mongo, model, version, known.get(model)) for model, version in VERSIONS.items())
    )


async def build_standings(mongo: Mongo) -> Sequence[BuildStanding]:
    """All builds, the newest of each model first. Raises as `standings` does."""
    known = await Registry(mongo, VERSIONS).all()
    found = [_build_standing(mongo, one, number) for one in known.values() for number in _numbers(one)]
    return await asyncio.gather(*found)


async def _standing(mongo: Mongo, model: str, version: int, known: Registered | None) -> Standing:
    if known is None:
        return Standing(model, version, 0, 0, State.WAITING)
    live = known.live
    checkpoint = await _checkpoint(mongo, known.build(max(known.numbers) if live is None else live))
    if checkpoint is None:
        return Standing(model, version, 0, 0, State.WAITING)
    return Standing(model, version, checkpoint["position"], checkpoint["parked"], _state(checkpoint, live is not None))


async def _build_standing(mongo: Mongo, known: Registered, number: int) -> BuildStanding:
    build, use = known.build(number), _use(known, number)
    until = {one.number: one.until for one in known.retired}.get(number)
    checkpoint = await _checkpoint(mongo, build)
    if checkpoint is None:
        return BuildStanding(build, use, 0, 0, State.WAITING, None, 0.0, until, None)
    return BuildStanding(
        build=build,
        use=use,
        position=checkpoint["position"],
        parked=checkpoint["parked"],
        state=_state(checkpoint, live=True),  # that it is being built is told by its use
        holder=checkpoint["holder"] if checkpoint["held"] else None,
        lease_seconds=max(0, checkpoint["left"]) / 1000,
        dropped_at=until,
        error=checkpoint.get("error"),
    )


async def _checkpoint(mongo: Mongo, build: BuildName) -> Document | None:
    """With whether its lease is `held`, and the milliseconds `left` of it, by the server's clock as the lease is."""
    held = {"$set": {"held": {"$gt": ["$until", "$$NOW"]}, "left": {"$subtract": ["$until", "$$NOW"]}}}
    with mongo_errors():
        found = await mongo.snapshot(str(build)).aggregate([{"$match": {"_id": CHECKPOINT}}, held]).to_list(None)
    return found[0] if found else None


def _numbers(known: Registered) -> Sequence[int]:
    building = [] if known.next is None else [known.next]
    return sorted({*known.numbers, *building}, reverse=True)


def _use(known: Registered, number: int) -> Use:
    if number == known.live:
        return Use.LIVE
    until = {one.number: one.until for one in known.retired}
    if number not in until:
        return Use.BUILDING
    return Use.KEPT if until[number] is None else Use.OLD


def _state(checkpoint: Document, live: bool) -> State:
    if checkpoint.get("state") == State.STOPPED:
        return State.STOPPED
    if not checkpoint["held"]:
        return State.WAITING
    return State.RUNNING if live else State.BUILDING
