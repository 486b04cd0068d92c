"""One run: the servers, the processes on them, the users, and what goes wrong."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from consumers.application_run import Tools
from consumers.backoff import Backoff
from consumers.claim_keeper import ClaimKeeper
from consumers.claim_watch import ClaimWatch
from consumers.cv_shelf import CvShelf
from consumers.halt import Halt
from consumers.late_results import LateResults
from consumers.portals import Delivery, Portal
from consumers.portals.entry import PortalEntry
from consumers.portals.limits import LimitedPortal
from consumers.processing import Processing
from consumers.reconciler import Candidates, CvRemover
from consumers.relay import Relay, RelayPorts, queue_names
from consumers.run_watch import RunWatch
from consumers.worker import Worker
from domain.batch_commands import BatchCommands
from domain.commands import ApplicationCommands
from domain.errors import StoreError
from domain.retry import RetryPolicy
from infra.event_log import EventStore, open_adapter
from infra.settings import Settings
from projections.projector import Projector
from projections.read_models import READ_MODELS
from tests.simulation.broker import Broker, SimDepths
from tests.simulation.chances import Chances, Fault
from tests.simulation.log import LogServer, SimHead, SimLog
from tests.simulation.loop import OUTSIDE, Killed, Process, SimLoop
from tests.simulation.portal import PortalService, SimAdapter
from tests.simulation.stand_ins import NoCvs, Reads, SimClock, Writer, never_seals, no_text
from tests.simulation.users import Answered, Api, User
from tests.simulation.view import SimView, ViewServer
from tests.simulation.watch import Violation, Watch

CLAIM_SECONDS, STUCK_SECONDS, GRACE_SECONDS = 3.0, 6.0, 2.0
ENDED_WITHIN = 600.0  # seconds after the storm; back-offs alone may take two minutes
RESTARTED_AFTER = 0.5
SETTINGS = Settings(
    secret_key="simulation-only-simulation-only-0",  # type: ignore[arg-type]
    claim_seconds=CLAIM_SECONDS,
    stuck_after_seconds=STUCK_SECONDS,
    shutdown_grace_seconds=GRACE_SECONDS,
    max_retries=3,
    retry_base_delay=0.2,
    retry_max_delay=2.0,
    worker_prefetch=4,
)
POLICY = RetryPolicy(SETTINGS.max_retries, SETTINGS.retry_base_delay, SETTINGS.retry_max_delay)
ROLES = ("api-1", "api-2", "projector-1", "projector-2", "relay-1", "relay-2", "worker-1", "worker-2", "worker-3")


@dataclass(slots=True)
class Role:
    """A role's place: its process now, and how it is told to stop."""

    name: str
    process: Process
    stop: asyncio.Event
    api: Api | None = None


@dataclass
class World:
    """Made for one seed; `run` once. `told` is what happened, when somebody wants to know (`trace`)."""

    chances: Chances
    loop: SimLoop
    trace: bool = False
    told: list[str] = field(default_factory=list)
    roles: dict[str, Role] = field(default_factory=dict)
    _processes: int = 0

    def __post_init__(self) -> None:
        loop, chances = self.loop, self.chances
        names = queue_names(SETTINGS)
        self.log, self.broker = LogServer(loop, chances), Broker(loop, chances, names)
        self.view = ViewServer(loop, chances, READ_MODELS)
        self.portals = [
            PortalService("keyed", Delivery.AT_LEAST_ONCE, loop, chances),
            PortalService("blind", Delivery.AT_MOST_ONCE, loop, chances),
        ]
        self.answered = Answered()
        self.watch = Watch(self.log, self.broker, self.view, self.portals, names, self.answered)
        self.log.committed = self._committed
        self.view.committed = self.watch.view_committed
        self.broker.on_acknowledged.append(self.watch)  # type: ignore[arg-type]
        for portal in self.portals:
            portal.received = self._received
        loop.on_death = self._died

    # -- the run ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Raises Violation."""
        for name in ROLES:
            self._start(name)
        users = [User(n, self._ask, self.chances, self.answered) for n in range(self.chances.random.choice((1, 2, 4)))]
        acting = [asyncio.create_task(user.act()) for user in users]
        if step := self.chances.clock_step():
            self._after(step[0], lambda: self._set_clock(step[1]))
        for fault in self.chances.faults():
            await self._until(fault.at)
            await self._strike(fault)
        await self._until(self.chances.until)
        self._calm_down()
        deadline = self.loop.time() + ENDED_WITHIN
        while (undone := self.watch.at_rest()) or not all(task.done() for task in acting):
            if self.loop.time() > deadline:
                raise Violation(f"stuck: {undone or 'a user gets no answer'}")
            await asyncio.sleep(0.5)
            self._judge()
        for task in acting:
            task.result()
        self.watch.at_the_end()
        self._judge()

    def _judge(self) -> None:
        if self.watch.violations:
            raise Violation(self.watch.violations[0])
        if self.loop.errors:
            raise Violation(f"nobody caught {self.loop.errors[0]}")

    async def _until(self, time: float) -> None:
        while self.loop.time() < time:
            await asyncio.sleep(min(time - self.loop.time(), 1.0))
            self._judge()

    def tell(self, text: str) -> None:
        if self.trace:
            self.told.append(f"{self.loop.time():9.4f}  {text}")

    # -- what goes wrong ----------------------------------------------------------------------------------------------

    async def _strike(self, fault: Fault) -> None:
        name = ROLES[int(fault.pick * len(ROLES))]
        process = self.roles[name].process
        self.tell(f"-- {fault.kind} {name} {fault.seconds:.2f} s")
        match fault.kind:
            case "kill":
                self.loop.kill(process)
            case "fuse":
                process.fuse = 1 + int(fault.seconds * 60)
            case "freeze":
                process.fuse, process.frozen_for = 1 + int(fault.pick * 1000) % 97, fault.seconds
            case "pause":
                self.loop.stop_process(process)
                self._after(fault.seconds, lambda: self.loop.go_on(process))
            case "stop":
                self.roles[name].stop.set()
            case "log":
                self.log.away = True
                self._after(fault.seconds, lambda: setattr(self.log, "away", False))
            case "broker":
                self.broker.away = True
                self.broker.lose_connections()
                self._after(fault.seconds, lambda: setattr(self.broker, "away", False))
            case "purge":
                self.broker.purge(self.broker.names.processing)
            case "view":
                self.view.away = True
                self._after(fault.seconds, lambda: setattr(self.view, "away", False))
            case "drop":
                builds = sorted(self.view.builds)
                if builds:
                    self.view.drop(builds[int(fault.pick * len(builds))])
            case "portal":
                portal = self.portals[int(fault.pick * len(self.portals))]
                portal.away = True
                self._after(fault.seconds, lambda: setattr(portal, "away", False))
            case _:
                self.log.deaf = True
                self._after(fault.seconds, lambda: setattr(self.log, "deaf", False))

    def _set_clock(self, seconds: float) -> None:
        self.tell(f"-- the log's clock is set by {seconds} s")
        self.log.ahead += seconds

    def _after(self, seconds: float, work: Callable[[], object]) -> None:
        self.loop.call_later(seconds, work, context=OUTSIDE)

    def _calm_down(self) -> None:
        """Nothing goes wrong from now on; what is away comes back, who is stopped goes on."""
        self.tell("-- calm")
        self.chances.storm = False
        self.log.away = self.log.deaf = self.broker.away = self.view.away = False
        for portal in self.portals:
            portal.away = False
        for role in self.roles.values():
            role.process.fuse = None
            if role.process.stopped:
                self.loop.go_on(role.process)

    def _died(self, process: Process) -> None:
        self.tell(f"-- {process.name} is dead")
        self._after(RESTARTED_AFTER, lambda: self._start(process.name))

    # -- processes ----------------------------------------------------------------------------------------------------

    def _start(self, name: str) -> None:
        self._processes += 1
        role = self.roles[name] = Role(name, Process(name), asyncio.Event())
        skew = self.chances.random.uniform(-0.5, 0.5)
        self.loop.spawn(role.process, self._run_role(role, self._processes, SimClock(self.loop, self._processes, skew)))

    async def _run_role(self, role: Role, number: int, clock: SimClock) -> None:
        """As a supervisor runs a role: what ends, in whatever way, is started again."""
        kind, holder = role.name.partition("-")[0], f"{role.name}-{number}"
        running: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
            "api": self._api, "projector": self._projector, "relay": self._relay, "worker": self._worker,
        }  # fmt: skip
        try:
            async with self._event_store() as store:
                await running[kind](role, store, clock, holder)
        except StoreError:
            pass  # it was away at the start
        except Exception as error:
            self.watch.demand(False, f"{holder} ended by {error!r}")
        if role.process.alive:
            self.loop.kill(role.process)

    @asynccontextmanager
    async def _event_store(self) -> Any:
        async with open_adapter(
            SimLog(self.log),
            pool_size=8,
            batch_max=SETTINGS.append_batch_max,
            head_of=lambda adapter: SimHead(self.log),
            sleep=self.loop.sleep,
        ) as store:
            yield store

    async def _api(self, role: Role, store: EventStore, clock: SimClock, holder: str) -> None:
        role.api = Api(ApplicationCommands(store.log, clock, POLICY), BatchCommands(store.log, clock))
        await role.stop.wait()
        role.api = None

    async def _projector(self, role: Role, store: EventStore, clock: SimClock, holder: str) -> None:
        view = SimView(self.view, holder, CLAIM_SECONDS)
        projector = Projector(store.log, view, READ_MODELS, 50, CLAIM_SECONDS)
        await projector.run(self, role.stop)

    async def _relay(self, role: Role, store: EventStore, clock: SimClock, holder: str) -> None:
        ports = RelayPorts(clock, self.broker.open_publisher, SimDepths(self.broker), self._reads, seal=never_seals)
        await Relay(store, SETTINGS, holder, ports).run(role.stop)

    async def _worker(self, role: Role, store: EventStore, clock: SimClock, holder: str) -> None:
        async with AsyncExitStack() as opened:
            keeper = await opened.enter_async_context(ClaimKeeper(store.claims, holder, CLAIM_SECONDS))
            watch = await opened.enter_async_context(ClaimWatch(store.claims, CLAIM_SECONDS))
            portals = {portal.name: self._limited(portal) for portal in self.portals}
            tools = Tools(
                commands=ApplicationCommands(store.log, clock, POLICY),
                find_portal=lambda name: portals.get(name or ""),
                writer=Writer(),
                read_cv=no_text,
                halt=Halt(),
                late=LateResults(),
                store_backoff=Backoff(),
            )
            queue = SETTINGS.application_processing_queue
            runs = RunWatch(store.log, queue)
            processing = Processing(tools, store.claims, keeper, CvShelf(NoCvs()), runs)
            consume = lambda: self.broker.open_consumer(queue, SETTINGS.worker_prefetch)  # noqa: E731
            await Worker(SETTINGS, processing, runs, watch, consume).run(role.stop)

    def _limited(self, service: PortalService) -> Portal:
        entry = PortalEntry(adapter="simulated", timeout=4.0, concurrency=2, delivery=service.delivery)
        return LimitedPortal(service.name, entry, SimAdapter(service), self.loop.time)

    @asynccontextmanager
    async def _reads(self) -> Any:
        reads: tuple[Candidates, CvRemover] = Reads(self.view), NoCvs()
        yield reads

    def beat(self) -> None:
        """As a `projections.projector.Heartbeat`."""

    def says(self, need: str, well: bool) -> None:
        """Nobody asks."""

    async def _ask(self, call: Callable[[Api], Any]) -> object:
        """Of the API that a load balancer picks. Raises Killed where there is none."""
        role = self.roles[self.chances.random.choice(("api-1", "api-2"))]
        await asyncio.sleep(self.chances.latency())
        if role.api is None or role.process.stopped:
            raise Killed
        return await self.loop.ask(role.process, call(role.api))

    # -- told ---------------------------------------------------------------------------------------------------------

    def _committed(self, statements: Sequence[str]) -> None:
        known = len(self.watch.log)
        self.watch.committed(statements)
        for recorded in self.watch.log[known:]:
            actor = recorded.metadata.cause.actor
            self.tell(f"{recorded.position} {recorded.stream_id.hex[-8:]} {recorded.event.NAME} by {actor}")

    def _received(self, service: PortalService, submission: Any) -> None:
        self.tell(f"{service.name} is sent {submission.idempotency_key[-14:]}")
        self.watch.received(service, submission)
