"""The projector: follows the log and folds it into the read models (design 6).

Each turn reads the next events, folds them in memory to at most one write a document, and commits documents and
checkpoints together. Builds at the same position share one reading and one transaction; one that has fallen behind (a
dropped collection, a poison event) catches up beside the others and joins them again. The projector knows nothing but
its leases: after any trouble with a store it takes them anew and goes on from where their checkpoints say. So a kill at
any instant, or a commit whose outcome is unknown, neither repeats nor skips an event.

What goes wrong, and what then:

- the database or the log is away: back-off, 0.1 to 10 seconds. Nothing is lost, the log waits.
- fenced: another process took the build, or its collection was dropped. Stand by, and take it when it is free.
- the database refuses a document: the batch is halved until the event is found, which then parks its stream.
- `apply` raises: the stream is parked at once. A model over many streams parks none: it stops, and says so.
- the database fails for one build only: this one rests, the others go on.
- an event that this release does not know: NewerEvent, the role ends. It parks nothing that it is too old to read.
"""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol
from uuid import UUID

from domain.errors import NewerEvent, StoreError, StoreFailed
from domain.event import RecordedEvent
from domain.parked_decisions import decisions_stream
from domain.ports import EventLog
from infra import tracing
from infra.clock import SystemClock
from infra.event_log import EventStore
from infra.mongo import Mongo
from infra.settings import Settings
from infra.tracing import Span
from projections.decisions import Decisions, decision_of
from projections.fold import NOTHING, Batch, Known, Place, place_of
from projections.holdings import Active, Backoff, Holdings
from projections.mongo_view import MongoView
from projections.parked import Poison
from projections.read_model import ReadModel, UnknownEvent
from projections.read_models import READ_MODELS
from projections.view import Advance, BuildName, Fenced, Refused, View

logger = logging.getLogger(__name__)

LAST_TURN_SECONDS = 2.0
RELEASE_SECONDS = 2.0
GATHER_SECONDS = 0.03  # between two turns, but in a backlog: what comes meanwhile shares one transaction

Events = Sequence[RecordedEvent]


class Heartbeat(Protocol):
    def beat(self) -> None:
        """The loop has turned."""

    def says(self, need: str, well: bool) -> None:
        """Whether something that the role needs can be used now."""


async def run_projector(
    event_store: EventStore, mongo: Mongo, settings: Settings, heartbeat: Heartbeat, stop: asyncio.Event
) -> None:
    """The role, until `stop` is set. Raises NewerEvent when the log holds what this release does not know."""
    clock, seconds = SystemClock(), settings.claim_seconds
    async with MongoView(mongo, READ_MODELS, clock.new_id(clock.now()).hex, seconds) as view:
        projector = Projector(event_store.log, view, READ_MODELS, settings.projection_batch_max, seconds)
        await projector.run(heartbeat, stop)


class Projector:
    """Projects what it can get a lease for; any number of processes may run one."""

    def __init__(
        self, log: EventLog, view: View, models: Sequence[ReadModel], batch_max: int, lease_seconds: float
    ) -> None:
        self._log, self._view, self._batch_max = log, view, batch_max
        self._holdings = Holdings(view, models, batch_max, lease_seconds)
        self._ahead: tuple[int, asyncio.Task[Events]] | None = None

    async def run(self, heartbeat: Heartbeat, stop: asyncio.Event) -> None:
        backoff = Backoff()
        try:
            while not stop.is_set():
                heartbeat.beat()
                try:
                    moved = await self._turn_unless(stop)
                except StoreError as error:
                    self._holdings.forget()
                    heartbeat.says("read_models", False)
                    logger.warning("projector waits: %s", error, extra={"event_type": "projector_waits"})
                    await _unless(stop, backoff.longer())
                else:
                    backoff.reset()
                    heartbeat.says("read_models", True)
                    if not moved:
                        await self._wait_for_events(stop)
                    elif self._ahead is None:
                        await _unless(stop, GATHER_SECONDS)
        except UnknownEvent as error:
            raise NewerEvent(str(error)) from error
        finally:
            await self.leave()

    async def turn(self) -> bool:
        """Brings every build of ours one batch further, those furthest behind first. False if there was nothing."""
        await self._holdings.look()
        moved = False
        done: set[BuildName] = set()
        while group := self._holdings.furthest_behind(done):
            done.update(active.lease.build for active in group)
            moved |= await self._advance(group)
        return moved

    @property
    def active(self) -> Sequence[Active]:
        """What it projects now."""
        return self._holdings.active

    def forget(self) -> None:
        """After trouble: its leases are taken anew in the next turn."""
        self._drop_ahead()
        self._holdings.forget()

    async def leave(self) -> None:
        """Gives its leases back, if the database lets it."""
        self._drop_ahead()
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._holdings.release()

    async def _turn_unless(self, stop: asyncio.Event) -> bool:
        """A turn that is given up when a store does not let it end soon after `stop` was set: as a kill, it is safe."""
        turn, stopped = asyncio.create_task(self.turn()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([turn, stopped], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([turn], timeout=LAST_TURN_SECONDS)
            return turn.result() if turn.done() else False
        finally:
            turn.cancel()
            stopped.cancel()

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _read(self, group: Sequence[Active]) -> Events:
        """The next events of a group; not beyond where the next builds stand, which it joins there."""
        after = group[0].lease.position
        limit = self._batch_max if len(group) > 1 else group[0].most
        events = await self._read_before(after, limit) or await self._log.read(after, limit)
        bound = self._holdings.next_position(after)
        if bound is not None:
            events = [recorded for recorded in events if recorded.position <= bound]
        if len(events) == self._batch_max:
            self._read_ahead(events[-1].position)
        return events

    def _read_ahead(self, after: int) -> None:
        """In a backlog the next batch is read and decoded while this one is written."""
        self._drop_ahead()
        task = asyncio.create_task(_read(self._log, after, self._batch_max))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, also if nobody awaits it
        self._ahead = after, task

    async def _read_before(self, after: int, limit: int) -> Events:
        """What was read ahead, if it was from there."""
        if self._ahead is None or self._ahead[0] != after or limit != self._batch_max:
            return ()
        task, self._ahead = self._ahead[1], None
        return await task

    def _drop_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead[1].cancel()
            self._ahead = None

    async def _wait_for_events(self, stop: asyncio.Event) -> None:
        seconds = self._holdings.look_seconds
        behind = min((active.lease.position for active in self._holdings.working), default=None)
        await _unless(stop, seconds, None if behind is None else self._log.wait(behind, seconds))

    # -- folding and writing ------------------------------------------------------------------------------------------

    async def _advance(self, group: Sequence[Active]) -> bool:
        head = None if all(active.live for active in group) else await self._log.head()
        if events := await self._read(group):
            await self._commit_group(group, events)
        for active in self._holdings.of(group):
            if head is not None and not active.live and active.lease.position >= head:
                await self._view.go_live(active.lease.build)
                self._holdings.gone_live(active)
        return bool(events)

    async def _commit_group(self, group: Sequence[Active], events: Events) -> None:
        """Together; what the database does not take together, each by itself."""
        if len(group) > 1:
            try:
                return await self._commit(group, events)
            except Fenced as fenced:
                self._holdings.drop(fenced.build)
            except (Refused, StoreFailed):
                pass
        for active in self._holdings.of(group):
            await self._commit_alone(active, events)
        return None

    async def _commit_alone(self, active: Active, events: Events) -> None:
        build = active.lease.build
        try:
            await self._commit_or_search(active, events)
        except Fenced:
            self._holdings.drop(build)
        except (Refused, StoreFailed) as error:
            self._holdings.rest(build, error)

    async def _commit_or_search(self, active: Active, events: Events) -> None:
        """A batch that holds a refused document is halved, turn by turn; a single event that is refused is poison."""
        try:
            await self._commit([active], events)
        except Refused as refusal:
            if len(events) > 1:
                active.most = len(events) // 2
            else:
                await self._park_refused(active, events, refusal)
        else:
            active.most = min(2 * active.most, self._batch_max)

    async def _park_refused(self, active: Active, events: Events, refusal: Refused) -> None:
        """The event's stream; if it is a decision, that of the last freed event with which the database refuses it."""
        freed = Batch.of(active.model, active.lease, events, {}, await self._known(active, events)).freed
        for suspect in reversed(freed):
            with contextlib.suppress(Refused):
                return await self._commit([active], events, Poison(suspect, refusal))
        return await self._commit([active], events, Poison(events[0], refusal))

    async def _commit(self, group: Sequence[Active], events: Events, refused: Poison | None = None) -> None:
        with self._span(group, events) as span:
            advances = await asyncio.gather(*(self._fold(active, events, refused) for active in group))
            await self._view.commit(advances)
            span.set({"app_manager.position": events[-1].position})
        for active, advance in zip(group, advances, strict=True):
            self._holdings.moved(active, advance)
            _tell(advance)

    def _span(self, group: Sequence[Active], events: Events) -> AbstractContextManager[Span]:
        """A batch follows from what caused its events: then they can be read. A rebuild is nobody's doing."""
        read = any(active.live for active in group)
        causes = (one.metadata.cause.traceparent for one in (events if read else ()))
        told = {"app_manager.builds": len(group), "app_manager.events": len(events)}
        return tracing.followed("project", causes, told)

    async def _fold(self, active: Active, events: Events, poison: Poison | None) -> Advance:
        """Begins again for each poison that turns up, as the documents may be half changed."""
        poisons: dict[Place, Poison] = {}
        stopped: str | None = None
        known = await self._known(active, events)
        while True:
            if poison is not None and active.model.SPANS_STREAMS:
                events, stopped = _before(poison, events), poison.reason
            elif poison is not None:
                poisons[place_of(poison.recorded)] = poison
            try:
                batch = Batch.of(active.model, active.lease, events, poisons, known)
                return batch.fold(await self._view.load(active.lease.build, batch.known_before), stopped)
            except Poison as found:
                poison = found

    async def _known(self, active: Active, events: Events) -> Known:
        """Decisions on the model, and the streams that those among the events are on. Nothing for one that parks none.

        What was decided after the build began is met in the log, where the stream is parked or nothing waits.
        """
        if active.model.SPANS_STREAMS:
            return NOTHING
        name = active.model.NAME
        if active.decisions is None:
            recorded = await self._log.read_stream(decisions_stream(name))
            if active.lease.position == 0:
                active.lease = replace(active.lease, decided=max((one.position for one in recorded), default=0))
            active.decisions = Decisions([one for one in recorded if one.position <= active.lease.decided])
        on = {one.stream for one in map(decision_of, events) if one is not None and one.read_model == name}
        if not on:
            return Known(active.decisions)
        return Known(active.decisions, {stream: await self._log.read_stream(UUID(stream)) for stream in on})


async def _read(log: EventLog, after: int, limit: int) -> Events:
    return await log.read(after, limit)


async def _unless(stop: asyncio.Event, seconds: float, condition: Coroutine[Any, Any, None] | None = None) -> None:
    """Waits for the condition, at most so long; ends at once when `stop` is set."""
    waiting = [asyncio.create_task(one) for one in (stop.wait(), condition) if one is not None]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def _before(poison: Poison, events: Events) -> Events:
    return [recorded for recorded in events if recorded.position < poison.recorded.position]


def _tell(advance: Advance) -> None:
    build = advance.lease.build
    for stream in sorted(advance.newly_parked):
        logger.error("%s parked %s", build, stream, extra={"event_type": "stream_parked", "application_id": stream})
    if advance.stopped is not None:
        logger.error("%s stopped: %s", build, advance.stopped, extra={"event_type": "projection_stopped"})
