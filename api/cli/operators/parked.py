"""`projections parked`: what waits, and an operator's decisions on it (contract cli.md 5).

A decision is recorded for what waits at this moment in a live build. A second one on the same event is only recorded
once the first has been acted on (`domain/parked_decisions.py`): the build's position is read before what waits in it.
"""

import asyncio
import getpass
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from api.cli.ending import CommandFailed
from api.cli.operators.stores import Stores, Work
from domain.event import Cause, Metadata, RecordedEvent
from domain.parked_decisions import Decision, DecisionCommands, EventSkipped, StreamRetried, decided, decisions_stream
from infra.clock import SystemClock
from projections.comparison import open_snapshot
from projections.fold import Batch, Known
from projections.live import VERSIONS, LiveBuilds
from projections.mongo_view import MongoView
from projections.parked import Poison
from projections.parked_list import parked_streams
from projections.read_models import READ_MODELS
from projections.view import BuildName, Lease

TAKEN_UP_SECONDS = 10.0  # how long projectors are waited for
LOOK_SECONDS = 0.1

Make = Callable[[str, str, int], Decision]  # of a read model, a stream, and the event at which it waits


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of what waits. One of the three is given."""

    streams: Sequence[str] = ()
    group: str | None = None
    all: bool = False

    def takes(self, one: Mapping[str, Any]) -> bool:
        return self.all or one["stream"] in self.streams or one["group"] == self.group


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in a live build that had come at least so far."""

    build: BuildName
    position: int
    streams: Sequence[Mapping[str, Any]]


def retried(model: str, stream: str, position: int) -> Decision:
    return StreamRetried(read_model=model, stream=stream, position=position)


def skipped(reason: str) -> Make:
    return lambda model, stream, position: EventSkipped(
        read_model=model, stream=stream, position=position, reason=reason
    )


# -- what the commands do ---------------------------------------------------------------------------------------------


async def listed(stores: Stores) -> dict[str, Any]:
    found = [one for waiting in await _waiting(stores) for one in waiting.streams]
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for one in found:
        group = groups.setdefault((one["projection"], one["group"]), {**_of_group(one), "streams": 0, "waiting": 0})
        group["streams"] += 1
        group["waiting"] += one["waiting"]
    return {"groups": list(groups.values()), "data": [_told(one) for one in found]}


def shown(streams: Sequence[str]) -> Work[dict[str, Any]]:
    """Each with the events that wait. Raises CommandFailed for one that is not parked."""

    async def work(stores: Stores) -> dict[str, Any]:
        chosen = _chosen(await _waiting(stores), Choice(streams))
        return {"data": [await _in_full(stores, one) for waiting in chosen for one in waiting.streams]}

    return work


def deciding(choice: Choice, make: Make, *, dry_run: bool) -> Work[dict[str, Any]]:
    """Records decisions and waits until they were acted on; a dry run tells what this release would make of them."""

    async def work(stores: Stores) -> dict[str, Any]:
        chosen = _chosen(await _waiting(stores), choice)
        what = _try_out if dry_run else _record
        told = [one for waiting in chosen for one in await what(stores, waiting, make)]
        return {"dry_run": dry_run, "data": told}

    return work


async def _record(stores: Stores, waiting: Waiting, make: Make) -> Sequence[dict[str, Any]]:
    left_out: set[str] = set()

    def decide(before: Mapping[tuple[str, int], int]) -> Sequence[Decision]:
        left_out.clear()
        left_out.update(
            one["stream"]
            for one in waiting.streams
            if before.get((one["stream"], one["position"]), 0) > waiting.position
        )
        return [
            make(waiting.build.model, one["stream"], one["position"])
            for one in waiting.streams
            if one["stream"] not in left_out
        ]

    commands = DecisionCommands(stores.log, SystemClock())
    decisions = await commands.record(waiting.build.model, decide, Cause(f"operator:{_operator()}"))
    positions = decided(await stores.log.read_stream(decisions_stream(waiting.build.model)))
    upto = max((positions[one.stream, one.position] for one in decisions), default=0)
    now = await _taken_up(stores, waiting.build.model, upto)
    return [_outcome(one, now, decided_before=one["stream"] in left_out) for one in waiting.streams]


async def _taken_up(stores: Stores, model: str, position: int) -> Waiting | None:
    """What waits once the live build has come so far; None if it does not in time."""
    deadline = asyncio.get_running_loop().time() + TAKEN_UP_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        for one in await _waiting(stores, {model}):
            if one.position >= position:
                return one
        await asyncio.sleep(LOOK_SECONDS)
    return None


def _outcome(one: Mapping[str, Any], now: Waiting | None, *, decided_before: bool) -> dict[str, Any]:
    told = {"projection": one["projection"], "stream": one["stream"], "position": one["position"]}
    if decided_before:
        return {**told, "outcome": "was decided on before, and no projector has acted on it yet", "error": None}
    if now is None:
        return {**told, "outcome": "recorded; no projector has acted on it yet", "error": None}
    still = {each["stream"]: each for each in now.streams}.get(one["stream"])
    if still is None:
        return {**told, "outcome": "goes on", "error": None}
    return {**told, "outcome": f"waits at position {still['position']}", "error": still["error"]}


# -- dry runs ---------------------------------------------------------------------------------------------------------


async def _try_out(stores: Stores, waiting: Waiting, make: Make) -> Sequence[dict[str, Any]]:
    async with MongoView(stores.mongo, READ_MODELS, "dry run", 0.0) as view:
        return [await _try_one(stores, view, waiting.build, one, make) for one in waiting.streams]


async def _try_one(
    stores: Stores, view: MongoView, build: BuildName, one: Mapping[str, Any], make: Make
) -> dict[str, Any]:
    """Folds what waits into copies of the documents."""
    told = {"projection": build.model, "stream": one["stream"], "position": one["position"]}
    [model] = [each for each in READ_MODELS if build.model == each.NAME]
    clock, position = SystemClock(), await stores.log.head() + 1
    metadata = Metadata(clock.new_id(clock.now()), clock.now(), Cause("dry run"))
    decision = RecordedEvent(
        decisions_stream(build.model), 1, make(build.model, one["stream"], one["position"]), metadata, position
    )
    lease = Lease(build, 0, position - 1, {one["stream"]: one["position"]})
    known = Known(streams={one["stream"]: await stores.log.read_stream(UUID(one["stream"]))})
    try:
        batch = Batch.of(model, lease, [decision], {}, known)
        batch.fold(await view.load(build, batch.known_before))
    except Poison as poison:
        return {**told, "outcome": "would wait again", "error": poison.reason}
    return {**told, "outcome": f"would go on with {len(batch.freed)} events", "error": None}


# -- what waits -------------------------------------------------------------------------------------------------------


async def _waiting(stores: Stores, models: Collection[str] = VERSIONS.keys()) -> Sequence[Waiting]:
    """In the live build of each of these read models."""
    live = LiveBuilds(stores.mongo)
    found: list[Waiting] = []
    for build in [await live.find(model) for model in models]:
        if build is not None:
            async with open_snapshot(stores.mongo, build) as snapshot:
                position = snapshot.position
            found.append(Waiting(build, position, await parked_streams(stores.mongo, [build], None)))
    return found


def _chosen(waiting: Sequence[Waiting], choice: Choice) -> Sequence[Waiting]:
    """Raises CommandFailed for a stream or group of which nothing waits."""
    found = [Waiting(one.build, one.position, list(filter(choice.takes, one.streams))) for one in waiting]
    there = {each["stream"] for one in found for each in one.streams}
    if missing := [stream for stream in choice.streams if stream not in there]:
        raise CommandFailed(f"not parked: {', '.join(missing)}")
    if choice.group is not None and not there:
        raise CommandFailed(f"nothing is parked in the group {choice.group}")
    return [one for one in found if one.streams]


async def _in_full(stores: Stores, one: Mapping[str, Any]) -> dict[str, Any]:
    recorded = await stores.log.read_stream(UUID(one["stream"]))
    events = [
        {"position": each.position, "type": each.event.NAME, "at": each.metadata.at.isoformat()}
        for each in recorded
        if each.position >= one["position"]
    ]
    return {**_told(one), "version": one["version"], "user": one["concerns"] or None, "events": events}


def _told(one: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("projection", "stream", "position", "event_type", "error", "group", "waiting")
    return {**{key: one[key] for key in keys}, "first_at": one["first_at"].isoformat()}


def _of_group(one: Mapping[str, Any]) -> dict[str, Any]:
    return {key: one[key] for key in ("group", "projection", "event_type", "error")}


def _operator() -> str:
    """As the machine knows him."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
