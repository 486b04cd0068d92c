"""Verify: the live read models against a fold of the log, document by document (contract cli.md 5).

The log is folded by the read models' own code into builds of the number 0, which no pointer ever names, in the same
database: so it needs no memory for it, whatever the log's length. They are brought near the live builds first; then
each live build is frozen in a snapshot, the fold is brought to exactly its position, and both are compared. The service
goes on all the while. What an interrupted check left is dropped by the next, and by its own end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from domain.errors import ReadModelBehind
from domain.ports import EventLog
from infra.mongo import Mongo, mongo_errors
from projections.beside import BesideView, Builder, pause
from projections.comparison import Comparison, open_snapshot
from projections.read_model import ReadModel
from projections.registry import Registry
from projections.view import BuildName

SCRATCH = 0  # number of the builds that are compared with
BEHIND_SECONDS = 30.0  # how long a live build is waited for that is behind the build beside it
NEAR = 2_000  # events that may be left when the live build is frozen

Step = Callable[[int], None]


class Tell(Protocol):
    """How far it is, for who looks on."""

    def stage(self, name: str, start: int, goal: int) -> Step:
        """A stage begins. Gives what is called with how far it is, from `start` to `goal` or beyond."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """What is needed to make builds beside the live ones. `holder` names this process, and no other ever."""

    log: EventLog
    mongo: Mongo
    holder: str
    lease_seconds: float
    tell: Tell

    async def live_builds(self, models: Sequence[ReadModel]) -> Sequence[BuildName]:
        """Raises ReadModelBehind when one has none."""
        known = await Registry(self.mongo, {model.NAME: model.VERSION for model in models}).all()
        found: list[BuildName] = []
        for model in models:
            registered = known.get(model.NAME)
            if registered is None or registered.live is None:
                raise ReadModelBehind(f"The read model {model.NAME} has no live build")
            found.append(registered.build(registered.live))
        return found

    async def bring_near(self, builder: Builder, goal: Callable[[], Awaitable[int]]) -> None:
        """Until no more is left than a moment's work, wherever the goal moves meanwhile."""
        upto = await goal()
        step = self.tell.stage("Folding the log", 0, upto)
        while True:
            await builder.reach(upto, step)
            further = await goal()
            if further - upto < NEAR:
                return
            upto = further

    async def compare(self, model: ReadModel, live: BuildName, beside: BuildName) -> Comparison:
        """With the live build as it stands at some moment from now on. Raises ReadModelBehind if it lags too long."""
        deadline = asyncio.get_running_loop().time() + BEHIND_SECONDS
        async with BesideView(self.mongo, [model], self.holder, self.lease_seconds, [beside]) as view:
            builder = Builder(self.log, view, [model], self.lease_seconds)
            while True:
                async with open_snapshot(self.mongo, live) as snapshot:
                    [active] = await builder.reach(snapshot.position)
                    if active.lease.position == snapshot.position:
                        return await snapshot.compare(beside, await self._comparing(live))
                if asyncio.get_running_loop().time() > deadline:
                    raise ReadModelBehind(f"The live build {live} stands behind position {active.lease.position}")
                await pause(0.1)

    async def _comparing(self, live: BuildName) -> Step:
        with mongo_errors():
            count = await self.mongo.database[str(live)].estimated_document_count()
        return self.tell.stage(f"Comparing {live.model}", 0, count)


async def verify(at: Workplace, models: Sequence[ReadModel]) -> Sequence[Comparison]:
    """Of each model, in their order.

    Raises ReadModelBehind while a model has no live build or that stands still, and what `Builder.reach` raises.
    """
    return await fold_beside(at, models, await at.live_builds(models))


async def fold_beside(at: Workplace, models: Sequence[ReadModel], builds: Sequence[BuildName]) -> Sequence[Comparison]:
    """These builds, one of each model, against a fold of the log. Raises as `verify` does."""
    scratch = [BuildName(model.NAME, model.VERSION, SCRATCH) for model in models]
    async with BesideView(at.mongo, models, at.holder, at.lease_seconds, scratch) as view:
        builder = Builder(at.log, view, models, at.lease_seconds)
        await builder.reach(0)  # so that no other check works on them
        try:
            await _drop(at.mongo, scratch)
            builder.forget()
            await at.bring_near(builder, lambda: _furthest_behind(at.mongo, builds))
            return [
                await at.compare(model, build, other)
                for model, build, other in zip(models, builds, scratch, strict=True)
            ]
        finally:
            await builder.leave()
            await _drop(at.mongo, scratch)


async def _furthest_behind(mongo: Mongo, builds: Sequence[BuildName]) -> int:
    """The lowest position of these builds."""
    positions: list[int] = []
    for build in builds:
        async with open_snapshot(mongo, build) as snapshot:
            positions.append(snapshot.position)
    return min(positions)


async def _drop(mongo: Mongo, builds: Sequence[BuildName]) -> None:
    with mongo_errors():
        for build in builds:
            await mongo.database.drop_collection(str(build))
