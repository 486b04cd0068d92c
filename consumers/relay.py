"""The relay: publishes what the log says, in its order, to three queues (design 7, contract messaging.md).

One relay at a time: it holds the lease `relay`; others stand by and take over when that was released or has run out.
The log is the outbox, and each queue has its checkpoint in it, so that a queue that is full, missing or switched off
holds up no other:

    log ──▶ Feed ──▶ Follower ──▶ Lane ──▶ queue          for processing, notifications and dead letters
                        └──▶ Ledger ──▶ due_messages ──▶ DueMessages ──▶ Lane ──▶ processing queue

A message goes its way in these steps: read from the log, sent, confirmed by the broker, passed by the checkpoint.
Killed before the last, the next relay publishes it again, under the same message id. A message that is due later is
first written to `due_messages`, in the transaction that moves the checkpoint past it; its row is deleted after the
confirm.
A relay that lost its lease is cancelled at once, and its writes are refused.

It also seals the log (`consumers/sealer.py`).

Nothing here needs MongoDB but the reconciler, and while that is away only the reconciler waits.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from consumers.backoff import Backoff, stopped_within
from consumers.claim_keeper import ClaimKeeper, ClaimLost
from consumers.feed import Feed
from consumers.followers import DueMessages, Follower
from consumers.heartbeat import Heartbeat, beat_for_ever
from consumers.lane import Lane, Progress, Publisher
from consumers.ledger import DueProgress, Ledger
from consumers.reconciler import OpenReads, open_reads, run_reconciler
from consumers.relay_gauges import Depths, Outbox, QueueDepths
from consumers.sealer import run_sealer
from consumers.together import until_first
from domain.commands import ApplicationCommands
from domain.errors import NewerEvent, StoreError
from domain.ports import Clock
from domain.retry import RetryPolicy
from infra.clock import SystemClock
from infra.event_log import EventStore
from infra.messages import QueueKind, QueueNames
from infra.mongo import MongoUnusable
from infra.rabbitmq import Settled, open_publisher
from infra.relay_store import LEASE, LeaseLost, RelayStore, create_tables
from infra.settings import Settings

logger = logging.getLogger(__name__)

STANDBY_LOOKS = 5  # in the life of a lease
DRAIN_SECONDS = 2.0  # for confirmations that are under way when the relay stops


async def run_relay(
    event_store: EventStore,
    settings: Settings,
    heartbeat: Heartbeat,
    stop: asyncio.Event,
    from_position: int | None = None,
) -> None:
    """Runs until `stop` is set. Raises NewerEvent and MongoUnusable.

    With `from_position`, everything from there on is published again, once this relay has got the lease.
    """
    names = queue_names(settings)
    ports = RelayPorts(
        clock=SystemClock(),
        open_publisher=lambda queue, settled: open_publisher(
            settings.rabbitmq_url, queue, settings.queue_type, settled
        ),
        depths=QueueDepths(settings.rabbitmq_url, names),
        reads=partial(open_reads, settings),
        seal=partial(run_sealer, event_store, settings),
    )
    relay = Relay(event_store, settings, f"relay-{uuid4().hex}", ports, from_position)
    await until_first(relay.run(stop), beat_for_ever(heartbeat))


def queue_names(settings: Settings) -> QueueNames:
    return QueueNames(
        processing=settings.application_processing_queue,
        notifications=settings.middleware_queue,
        dead_letters=settings.application_dlq,
    )


@dataclass(frozen=True, slots=True)
class RelayPorts:
    """What a relay needs besides the log. `open_publisher` takes a queue's name; `seal` runs until it is cancelled."""

    clock: Clock
    open_publisher: Callable[[str, Settled], AbstractAsyncContextManager[Publisher]]
    depths: Depths
    reads: OpenReads
    seal: Callable[[], Coroutine[Any, Any, None]]


class Relay:
    """One process: it stands by until it gets the lease, and then publishes while it has it."""

    def __init__(
        self,
        event_store: EventStore,
        settings: Settings,
        holder: str,
        ports: RelayPorts,
        from_position: int | None = None,
    ) -> None:
        """`holder` names this process, and no other ever."""
        self._event_store, self._settings, self._holder, self._ports = event_store, settings, holder, ports
        self._from_position = from_position
        self._stands_by = False
        self._store = RelayStore(event_store.database, holder)
        self._clock = ports.clock
        self._names = queue_names(settings)

    async def run(self, stop: asyncio.Event) -> None:
        backoff = Backoff()
        claims, seconds = self._event_store.claims, self._settings.claim_seconds
        async with ClaimKeeper(claims, self._holder, seconds) as keeper:
            while not stop.is_set():
                since = asyncio.get_running_loop().time()
                try:
                    if await claims.take(keeper.claim(LEASE)):
                        backoff.reset()
                        async with keeper.keep(LEASE, since):
                            await self._lead(stop)
                        await claims.release(keeper.claim(LEASE))
                    else:
                        self._tell_standby()
                        await stopped_within(stop, seconds / STANDBY_LOOKS)
                except (NewerEvent, MongoUnusable):
                    with contextlib.suppress(StoreError):  # so that a newer relay takes over at once
                        await claims.release(keeper.claim(LEASE))
                    raise
                except (ClaimLost, LeaseLost):
                    logger.warning("relay has lost the lease", extra={"event_type": "relay_lease_lost"})
                except StoreError as error:
                    logger.warning("event log is away", extra={"event_type": "event_store_away", "error": str(error)})
                    await stopped_within(stop, backoff.seconds())

    def _tell_standby(self) -> None:
        if not self._stands_by:
            logger.info("another relay has the lease, this one stands by", extra={"event_type": "relay_stands_by"})
        self._stands_by = True

    async def _lead(self, stop: asyncio.Event) -> None:
        """Publishes until `stop` is set. Raises LeaseLost, NewerEvent or a StoreError."""
        self._stands_by = False
        logger.info("relay has the lease", extra={"event_type": "relay_started"})
        await create_tables(self._event_store.database)
        if self._from_position is not None:
            await self._store.rewind(self._from_position)
            self._from_position = None
        kept = await self._store.load()
        ledger = Ledger(self._store, kept, self._names, lambda: {f.kind: f.checkpoint for f in followers})
        feed = Feed(self._event_store.log, self._names, kept.checkpoints)
        followers = [
            Follower(kind, feed, self._lane(kind, ledger), ledger, self._clock, position)
            for kind, position in kept.checkpoints.items()
        ]
        due = DueMessages(self._store, self._lane(QueueKind.PROCESSING, DueProgress(ledger)), ledger, self._clock)
        lanes = [due.lane, *(follower.lane for follower in followers)]
        outbox = Outbox(self._event_store.log, feed, followers, due, ledger, self._clock)

        async def give_on_until_stopped() -> None:
            await until_first(stop.wait(), due.run(), *(follower.run() for follower in followers))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_SECONDS):
                    await asyncio.gather(*(lane.drained() for lane in lanes))

        await until_first(
            give_on_until_stopped(),
            ledger.run(),
            *(lane.run() for lane in lanes),
            outbox.watch(),
            self._look_around(outbox),
            self._ports.seal(),
        )
        await ledger.save()

    async def _look_around(self, outbox: Outbox) -> None:
        """How full the queues are, and what is stuck."""
        settings, claims = self._settings, self._event_store.claims
        policy = RetryPolicy(settings.max_retries, settings.retry_base_delay, settings.retry_max_delay)
        commands = ApplicationCommands(self._event_store.log, self._clock, policy)
        depths, reads = self._ports.depths, self._ports.reads
        await until_first(depths.watch(), run_reconciler(settings, commands, claims, outbox, depths, reads))

    def _lane(self, kind: QueueKind, progress: Progress) -> Lane:
        settings, queue = self._settings, self._names.of(kind)
        opened = partial(self._ports.open_publisher, queue)
        enabled = kind is not QueueKind.PROCESSING or settings.async_processing_enabled
        return Lane(queue, opened, progress, enabled=enabled)
