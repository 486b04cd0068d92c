"""Rebuild: the next build of a read model beside the live one, checked, and then read in its place (design 6).

1. The next build is registered and made from position 0 up to the log's head, while nobody reads it; then its indexes.
2. It is compared with the live build at one position: count, checksum, every document. If they differ, the live one is
   wrong or was made by another release; so the new one is then compared with a second fold of the log, and only what
   the log says is switched to.
3. It catches up, and the switch (`projections/registry.py`) makes it the one that is read. Its lease is free from then
   on, and projectors keep both current.

What a crash leaves: before the switch, a build that the next start of the same release goes on with from its checkpoint
(its lease runs out in seconds); in the switch, all or nothing; after it, nothing is left to do. A build that another
release began is dropped and begun anew, as that release may fold otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from domain.errors import ReadModelBehind, StoreUnavailable
from projections.beside import BesideView, Builder, pause
from projections.comparison import Comparison, open_snapshot
from projections.read_model import ReadModel
from projections.registry import GRACE_SECONDS, NotCaughtUp, NotLive, Registry
from projections.verify import Workplace, fold_beside
from projections.view import BuildName, Fenced

SWITCH_TRIES = 200  # each is as likely as not to meet a commit of the live build
BETWEEN_TRIES = 0.05


class NotTheLog(Exception):
    """A new build is not what the log says. It was dropped: the next start begins anew."""

    def __init__(self, comparison: Comparison) -> None:
        count = comparison.count
        super().__init__(
            f"{comparison.live} differed from a second fold of the log in {count} documents, and was dropped"
        )
        self.comparison = comparison


class NothingKept(Exception):
    """There is no build to go back to."""


@dataclass(frozen=True, slots=True)
class Switched:
    """What is read now, from which position on, and what was read before. `comparison`: with that, if it could be."""

    build: BuildName
    position: int
    former: BuildName | None
    comparison: Comparison | None = None


async def rebuild(
    at: Workplace, models: Sequence[ReadModel], release: str, *, keep: bool, grace: float = GRACE_SECONDS
) -> Sequence[Switched]:
    """Each model, in their order; they are built together, and switched one after another.

    `keep` keeps the former builds for a roll-back; else they are dropped `grace` seconds later. Raises BuildInUse while
    another process does the same, NotTheLog, NotCaughtUp when the switch finds no moment, and as `Builder.reach` does.
    """
    registry = _registry(at, models)
    builds = [await registry.begin(model.NAME, release) for model in models]
    async with BesideView(at.mongo, models, at.holder, at.lease_seconds, builds) as view:
        builder = Builder(at.log, view, models, at.lease_seconds)
        try:
            await at.bring_near(builder, at.log.head)
            await view.finish(at.tell.stage("Making indexes", 0, len(builds)))
            await at.bring_near(builder, at.log.head)  # it may have taken long
        finally:
            await builder.leave()
    return [
        await _check_and_switch(at, model, build, keep=keep, grace=grace)
        for model, build in zip(models, builds, strict=True)
    ]


async def roll_back(at: Workplace, model: ReadModel, grace: float = GRACE_SECONDS) -> Switched:
    """Back to the build that was kept, caught up first; the one that was live is dropped after the grace.

    Raises NothingKept, NotCaughtUp, and what `Builder.reach` does.
    """
    registry = _registry(at, [model])
    for _ in range(SWITCH_TRIES):
        known = (await registry.all()).get(model.NAME)
        if known is None or known.kept is None or known.live is None:
            raise NothingKept(f"no former build of {model.NAME} is kept: rebuild with --keep-old keeps one")
        kept, live = known.build(known.kept), known.build(known.live)
        if await _is_free(at, model, kept):
            return await _switch(at, model, kept, keep=False, grace=grace)
        position = await _position(at, kept)
        try:
            await registry.roll_back(kept, position, live.number, grace)
        except (NotCaughtUp, NotLive, Fenced, StoreUnavailable):
            await pause(BETWEEN_TRIES)
            if (await registry.all())[model.NAME].live != kept.number:  # else by a commit whose answer was lost
                continue
        return Switched(kept, position, live)
    raise NotCaughtUp(f"{model.NAME} found no moment to switch: its kept build does not keep up with the live one")


async def _check_and_switch(at: Workplace, model: ReadModel, build: BuildName, *, keep: bool, grace: float) -> Switched:
    live = (await _registry(at, [model]).all())[model.NAME].live
    comparison = None if live is None else await _compared(at, model, BuildName(model.NAME, model.VERSION, live), build)
    if live is not None and (comparison is None or not comparison.equal):
        [proof] = await fold_beside(at, [model], [build])
        if not proof.equal:
            await _registry(at, [model]).discard(build)
            raise NotTheLog(proof)
    return await _switch(at, model, build, keep=keep, grace=grace, comparison=comparison)


async def _compared(at: Workplace, model: ReadModel, live: BuildName, build: BuildName) -> Comparison | None:
    """None when the live build stands still behind the new one: then they are never at one position."""
    try:
        return await at.compare(model, live, build)
    except ReadModelBehind:
        return None


async def _switch(
    at: Workplace, model: ReadModel, build: BuildName, *, keep: bool, grace: float, comparison: Comparison | None = None
) -> Switched:
    registry = _registry(at, [model])
    former: BuildName | None = None
    async with BesideView(at.mongo, [model], at.holder, at.lease_seconds, [build]) as view:
        builder = Builder(at.log, view, [model], at.lease_seconds)
        try:
            await builder.reach(await at.log.head())
            await view.finish(lambda _: None)  # it may have been dropped meanwhile, and made anew
            for _ in range(SWITCH_TRIES):
                [active] = await builder.reach(await at.log.head())
                live = (await registry.all())[model.NAME].live
                if live == build.number:  # by a commit whose answer was lost
                    return Switched(build, active.lease.position, former, comparison)
                former = None if live is None else BuildName(model.NAME, model.VERSION, live)
                try:
                    await registry.switch(active.lease, live, at.holder, keep=keep, grace=grace)
                except (NotCaughtUp, NotLive, StoreUnavailable):
                    await pause(BETWEEN_TRIES)
                except Fenced:
                    builder.forget()
                else:
                    return Switched(build, active.lease.position, former, comparison)
        finally:
            await builder.leave()
    raise NotCaughtUp(f"{build} found no moment to switch: it does not keep up with the live build")


async def _is_free(at: Workplace, model: ReadModel, build: BuildName) -> bool:
    """Whether nobody projects it, so that we must."""
    async with BesideView(at.mongo, [model], at.holder, at.lease_seconds, [build]) as view:
        lease = await view.take(build)
        if lease is not None:
            await view.release(lease)
    return lease is not None


async def _position(at: Workplace, build: BuildName) -> int:
    async with open_snapshot(at.mongo, build) as snapshot:
        return snapshot.position


def _registry(at: Workplace, models: Sequence[ReadModel]) -> Registry:
    return Registry(at.mongo, {model.NAME: model.VERSION for model in models})
