"""The builds that this process projects: it takes what is free, keeps what it has, and stands by for the rest.

A build whose store fails for it alone rests for a while, so that it does not hold up the others.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from domain.errors import StoreFailed
from infra import metrics
from projections.decisions import Decisions
from projections.read_model import ReadModel
from projections.view import Advance, BuildName, Lease, View

logger = logging.getLogger(__name__)

LOOKS_A_LEASE = 5  # how often leases are looked after in the time that they last


@dataclass(slots=True)
class Backoff:
    """Waits that double, from `first` to `last` seconds."""

    first: float = 0.1
    last: float = 10.0
    seconds: float = 0.0

    def longer(self) -> float:
        self.seconds = min(max(2 * self.seconds, self.first), self.last)
        return self.seconds

    def reset(self) -> None:
        self.seconds = 0.0


@dataclass(slots=True)
class Active:
    """A build that this process projects."""

    model: ReadModel
    lease: Lease
    live: bool
    most: int  # events in its next batch, when it goes alone: halved while a refused document is looked for
    stopped: str | None = None  # why it cannot go on; its lease is kept: no other process need try the same in vain
    kept: bool = True  # its lease was renewed since the last look
    decisions: Decisions | None = None  # known when the build began; None until they are looked up


@dataclass(slots=True)
class Rest:
    until: float = 0.0
    backoff: Backoff = field(default_factory=Backoff)


class Holdings:
    def __init__(self, view: View, models: Sequence[ReadModel], batch_max: int, lease_seconds: float) -> None:
        self._view = view
        self._models: Mapping[tuple[str, int], ReadModel] = {(model.NAME, model.VERSION): model for model in models}
        self._batch_max = batch_max
        self.look_seconds = lease_seconds / LOOKS_A_LEASE
        self._next_look = 0.0
        self._active: dict[BuildName, Active] = {}
        self._rests: dict[BuildName, Rest] = {}

    @property
    def active(self) -> Sequence[Active]:
        return list(self._active.values())

    @property
    def working(self) -> Sequence[Active]:
        return [active for active in self._active.values() if not active.stopped]

    def furthest_behind(self, done: AbstractSet[BuildName]) -> Sequence[Active]:
        """The working builds at the lowest position at which there is one that is not yet done; none if all are."""
        waiting = [active.lease.position for active in self.working if active.lease.build not in done]
        return [active for active in self.working if active.lease.position == min(waiting)] if waiting else []

    def next_position(self, after: int) -> int | None:
        """Where the next working builds stand: there those behind join them."""
        return min((a.lease.position for a in self.working if a.lease.position > after), default=None)

    def of(self, group: Sequence[Active]) -> Sequence[Active]:
        """Those of a group that are still ours."""
        return [active for active in group if self._active.get(active.lease.build) is active]

    async def look(self) -> None:
        """Takes builds that are free and renews what was not renewed by a commit; not more often than is needed."""
        now = asyncio.get_running_loop().time()
        if now < self._next_look:
            return
        for build, live in (await self._view.builds()).items():
            try:
                await self._look_at(build, live, now)
            except StoreFailed as error:
                self.rest(build, error)
        self._next_look = now + self.look_seconds

    def drop(self, build: BuildName) -> None:
        """Another process has it, or another build is live now: look again, and stand by."""
        self._active.pop(build, None)
        self._next_look = 0.0

    def rest(self, build: BuildName, error: Exception) -> None:
        """The store fails for this build alone: it is taken anew later."""
        self._active.pop(build, None)
        rest = self._rests.setdefault(build, Rest())
        rest.until = asyncio.get_running_loop().time() + rest.backoff.longer()
        extra = {"event_type": "projection_rests"}
        logger.error("%s rests, the database fails for it", build, exc_info=error, extra=extra)

    def moved(self, active: Active, advance: Advance) -> None:
        """What was committed."""
        if active.live:
            _count_parked(advance.after)
        active.lease, active.kept, active.stopped = advance.after, True, advance.stopped
        self._rests.pop(active.lease.build, None)

    def gone_live(self, active: Active) -> None:
        """It is read from now on, so its parked streams count."""
        active.live = True
        _count_parked(active.lease)

    def forget(self) -> None:
        """After trouble: what we hold, and how far it is, is asked anew."""
        self._active.clear()
        self._next_look = 0.0

    async def release(self) -> None:
        for active in self.active:
            await self._view.release(active.lease)

    async def _look_at(self, build: BuildName, live: bool, now: float) -> None:
        active = self._active.get(build)
        if active is None:
            if build not in self._rests or self._rests[build].until <= now:
                await self._take(build, live)
        else:
            active.live = live
            if not active.kept and not await self._view.renew(active.lease):
                self.drop(build)
            active.kept = False

    async def _take(self, build: BuildName, live: bool) -> None:
        lease = await self._view.take(build)
        if lease is not None:
            if live:
                _count_parked(lease)
            logger.info("projects %s from %s", build, lease.position, extra={"event_type": "projection_taken"})
            model = self._models[build.model, build.version]
            begun = lease.position > 0  # else it may have been dropped since, and is live no longer
            self._active[build] = Active(model, lease, live and begun, self._batch_max)
        elif live:  # another process has it, and counts them
            metrics.PARKED_STREAMS.set(0, projection=build.model)


def _count_parked(lease: Lease) -> None:
    metrics.PARKED_STREAMS.set(len(lease.parked), projection=lease.build.model)
