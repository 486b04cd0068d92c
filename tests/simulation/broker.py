"""RabbitMQ in memory: what `infra.rabbitmq.open_publisher`, `open_consumer` and `QueueDepths` are for the real one.

It loses connections with some messages taken and some of those confirmed, confirms in another order, refuses, delivers
again and in another order, and may be emptied. Of what is taken twice it knows nothing: a message is its bytes.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from infra.messages import Message, QueueKind, QueueNames
from infra.rabbitmq import BrokerError, Delivery, Settled
from tests.simulation.chances import Chances
from tests.simulation.loop import OUTSIDE, PROCESS, SimLoop

NOTICED_SECONDS = 1.0  # until the broker knows that a process is gone


@dataclass(eq=False, slots=True)
class _Stored:
    message: Message
    redelivered: bool = False


@dataclass(eq=False)
class Broker:
    """`accepted` tells, for each queue, which messages it has ever had, in the order of coming."""

    loop: SimLoop
    chances: Chances
    names: QueueNames
    away: bool = False
    ready: dict[str, deque[_Stored]] = field(default_factory=dict)
    accepted: dict[str, dict[str, int]] = field(default_factory=dict)
    connections: list["_Connection"] = field(default_factory=list)
    on_acknowledged: list["Acknowledged"] = field(default_factory=list)

    def queue(self, name: str) -> deque[_Stored]:
        return self.ready.setdefault(name, deque())

    def lose_connections(self) -> None:
        for connection in list(self.connections):
            connection.lose()

    def purge(self, name: str) -> None:
        self.queue(name).clear()

    def take(self, name: str, message: Message) -> None:
        seen = self.accepted.setdefault(name, {})
        seen[message.message_id] = seen.get(message.message_id, 0) + 1
        copies = 2 if self.chances.happens() else 1
        queue = self.queue(name)
        for _ in range(copies):
            if self.chances.happens():
                queue.insert(self.chances.random.randint(0, len(queue)), _Stored(message))
            else:
                queue.append(_Stored(message))
        self.deliver(name)

    def deliver(self, name: str) -> None:
        consumers = [one for one in self.connections if isinstance(one, SimConsumer) and one.wants(name)]
        queue = self.queue(name)
        while queue and consumers:
            consumer = self.chances.random.choice(consumers)
            consumer.give(queue.popleft())
            consumers = [one for one in consumers if one.wants(name)]

    def _notice(self, consumer: "SimConsumer") -> None:
        """Its process is gone."""
        self.loop.call_later(NOTICED_SECONDS, consumer.lose, context=OUTSIDE)

    async def reach(self) -> None:
        """Raises BrokerError."""
        await asyncio.sleep(self.chances.latency())
        if self.away or self.chances.happens():
            raise BrokerError("RabbitMQ: ConnectionError")

    @asynccontextmanager
    async def open_publisher(self, queue: str, settled: Settled) -> AsyncIterator["SimPublisher"]:
        await self.reach()
        publisher = SimPublisher(self, queue, settled)
        self.connections.append(publisher)
        try:
            yield publisher
        finally:
            publisher.lose()

    @asynccontextmanager
    async def open_consumer(self, queue: str, prefetch: int) -> AsyncIterator["SimConsumer"]:
        await self.reach()
        consumer = SimConsumer(self, queue, prefetch)
        self.connections.append(consumer)
        if (process := PROCESS.get()) is not None:
            process.at_death.append(lambda: self._notice(consumer))
        self.deliver(queue)
        try:
            yield consumer
        finally:
            consumer.lose()


class Acknowledged:
    """Who is told what was acknowledged."""

    def acknowledged(self, queue: str, message: Message) -> None: ...


class _Connection:
    def __init__(self, broker: Broker, queue: str) -> None:
        self.broker, self.name = broker, queue
        self.open = True

    def lose(self) -> None:
        if self.open:
            self.open = False
            self.broker.connections.remove(self)


class SimPublisher(_Connection):
    """`consumers.lane.Publisher`."""

    def __init__(self, broker: Broker, queue: str, settled: Settled) -> None:
        super().__init__(broker, queue)
        self._settled, self._context = settled, contextvars.copy_context()
        self.closed: asyncio.Future[object] = broker.loop.create_future()
        self._last = 0.0  # what was sent first arrives first

    def lose(self) -> None:
        super().lose()
        if not self.closed.done():
            self.closed.set_result(None)

    async def send(self, messages: Sequence[Message]) -> None:
        await asyncio.sleep(self.broker.chances.latency())
        if not self.open:
            raise BrokerError("RabbitMQ: the connection was lost")
        loop, chances = self.broker.loop, self.broker.chances
        for message in messages:
            self._last = max(self._last, loop.time() + chances.latency() / 4)
            loop.call_at(self._last, self._arrive, message, context=OUTSIDE)

    async def is_blocked(self) -> bool:
        return False

    def _arrive(self, message: Message) -> None:
        """At the broker: taken and confirmed, or one of the two is lost with the connection, or refused."""
        chances = self.broker.chances
        if not self.open:
            return
        fate = chances.one_of("refused", "lost", "unconfirmed") if chances.happens() else "taken"
        if fate in {"taken", "unconfirmed"}:
            self.broker.take(self.name, message)
        if fate in {"lost", "unconfirmed"}:
            self.lose()
        else:
            refusal = "the broker refused it" if fate == "refused" else None
            self.broker.loop.call_later(chances.latency(), self._confirm, message, refusal, context=self._context)

    def _confirm(self, message: Message, refusal: str | None) -> None:
        if self.open:
            self._settled(message, refusal)


class SimConsumer(_Connection):
    """`consumers.worker.Consumer`."""

    def __init__(self, broker: Broker, queue: str, prefetch: int) -> None:
        super().__init__(broker, queue)
        self._prefetch = prefetch
        self._unacknowledged: dict[int, _Stored] = {}
        self._tags = 0
        self._stopped = False
        self._arrived: asyncio.Queue[Delivery | None] = asyncio.Queue()

    def wants(self, queue: str) -> bool:
        return self.name == queue and not self._stopped and len(self._unacknowledged) < self._prefetch

    def give(self, stored: _Stored) -> None:
        self._tags += 1
        self._unacknowledged[self._tags] = stored
        message = stored.message
        delivery = Delivery(
            body=message.body,
            tag=self._tags,
            redelivered=stored.redelivered,
            message_id=message.message_id,
            correlation_id=message.correlation_id,
            traceparent=message.traceparent,
        )
        self.broker.loop.call_later(self.broker.chances.latency(), self._arrived.put_nowait, delivery, context=OUTSIDE)

    def lose(self) -> None:
        if not self.open:
            return
        super().lose()
        again, self._unacknowledged = list(self._unacknowledged.values()), {}
        for stored in again:
            stored.redelivered = True
        self.broker.queue(self.name).extendleft(reversed(again))
        self._arrived.put_nowait(None)
        self.broker.deliver(self.name)

    async def next(self) -> Delivery:
        delivery = await self._arrived.get()
        if delivery is None:
            raise BrokerError("RabbitMQ: the queue is no longer delivered")
        return delivery

    async def acknowledge(self, delivery: Delivery) -> None:
        await asyncio.sleep(self.broker.chances.latency() / 4)
        if not self.open:
            raise BrokerError("RabbitMQ: the connection was lost")
        stored = self._unacknowledged.get(delivery.tag)
        if stored is None:
            return
        for watcher in self.broker.on_acknowledged:
            watcher.acknowledged(self.name, stored.message)
        if self.broker.chances.happens():  # it is lost on its way: the message comes again
            self.lose()
            return
        del self._unacknowledged[delivery.tag]
        self.broker.deliver(self.name)

    async def stop(self) -> None:
        self._stopped = True
        if not self.open:
            raise BrokerError("RabbitMQ: the connection was lost")


@dataclass(frozen=True, slots=True)
class SimDepths:
    """`consumers.relay_gauges.Depths`."""

    broker: Broker

    async def of(self, kind: QueueKind) -> int | None:
        try:
            await self.broker.reach()
        except BrokerError:
            return None
        return len(self.broker.queue(self.broker.names.of(kind)))

    async def watch(self) -> None:
        await self.broker.loop.create_future()
