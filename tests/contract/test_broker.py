"""What the consumers ask of a broker, held against RabbitMQ and against the broker of the simulation."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import cast

import pytest

from consumers.lane import Publisher
from consumers.relay_gauges import Depths, QueueDepths
from consumers.worker import Consumer
from infra.messages import Message, QueueKind, QueueNames
from infra.rabbitmq import BrokerError, Delivery, Settled, open_consumer, open_publisher
from tests.queues import Queues
from tests.simulation.broker import Broker, SimDepths
from tests.simulation.chances import Chances
from tests.simulation.loop import SimLoop
from tests.workshop import until

NAMES = QueueNames("work", "news", "dead")


@dataclass(frozen=True, slots=True)
class Opened:
    """How one broker is reached; the queue is that for work."""

    publisher: Callable[[Settled], AbstractAsyncContextManager[Publisher]]
    consumer: Callable[[int], AbstractAsyncContextManager[Consumer]]
    depths: Depths


@pytest.fixture(params=["rabbitmq", "simulated"])
def url(request: pytest.FixtureRequest) -> str | None:
    """None for the simulated broker."""
    return request.getfixturevalue("rabbitmq_url") if request.param == "rabbitmq" else None


@pytest.fixture
async def broker(url: str | None, queue_prefix: str) -> AsyncIterator[Opened]:
    if url is None:
        loop = cast(SimLoop, asyncio.get_running_loop())  # all that is asked of it is what every loop has
        simulated = Broker(loop, Chances.none(), NAMES)
        yield Opened(
            partial(simulated.open_publisher, NAMES.processing),
            partial(simulated.open_consumer, NAMES.processing),
            SimDepths(simulated),
        )
        return
    queues = Queues(url, queue_prefix)
    work = queues.names.processing
    yield Opened(
        lambda settled: open_publisher(url, work, "", settled),
        lambda prefetch: open_consumer(url, work, "", prefetch),
        QueueDepths(url, queues.names),
    )
    await queues.remove()


async def published(broker: Opened, *bodies: bytes) -> list[str | None]:
    """What became of each."""
    settled: dict[str, str | None] = {}
    async with broker.publisher(lambda message, refusal: settled.update({message.message_id: refusal})) as publisher:
        await publisher.send([Message(QueueKind.PROCESSING, f"m-{n}", body, "c-1") for n, body in enumerate(bodies)])
        await until(lambda: len(settled) == len(bodies), 15)
    return [settled[f"m-{n}"] for n in range(len(bodies))]


async def taken(consumer: Consumer, count: int) -> list[Delivery]:
    async with asyncio.timeout(15):
        return [await consumer.next() for _ in range(count)]


async def test_what_is_sent_is_confirmed_and_delivered_in_its_order(broker: Opened) -> None:
    assert await published(broker, b"a", b"b", b"c") == [None] * 3
    async with broker.consumer(10) as consumer:
        deliveries = await taken(consumer, 3)
    assert [delivery.body for delivery in deliveries] == [b"a", b"b", b"c"]
    assert [delivery.message_id for delivery in deliveries] == ["m-0", "m-1", "m-2"]
    assert {(delivery.redelivered, delivery.correlation_id) for delivery in deliveries} == {(False, "c-1")}


async def test_what_is_acknowledged_does_not_come_again_and_all_else_does(broker: Opened) -> None:
    await published(broker, b"a", b"b", b"c")
    async with broker.consumer(10) as consumer:
        first, second, third = await taken(consumer, 3)
        await consumer.acknowledge(second)
    async with broker.consumer(10) as consumer:
        again = await taken(consumer, 2)
        for delivery in again:
            await consumer.acknowledge(delivery)
    assert [delivery.body for delivery in again] == [first.body, third.body]
    assert all(delivery.redelivered for delivery in again)
    assert await broker.depths.of(QueueKind.PROCESSING) == 0


async def test_no_more_than_the_prefetch_are_given_at_once(broker: Opened) -> None:
    await published(broker, b"a", b"b", b"c")
    async with broker.consumer(2) as consumer:
        first, _ = await taken(consumer, 2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await consumer.next()
        await consumer.acknowledge(first)
        assert [delivery.body for delivery in await taken(consumer, 1)] == [b"c"]


async def test_two_consumers_share_what_is_there(broker: Opened) -> None:
    await published(broker, *(f"{n}".encode() for n in range(6)))
    async with broker.consumer(3) as one, broker.consumer(3) as other:
        found = [*await taken(one, 3), *await taken(other, 3)]
    assert {delivery.body for delivery in found} == {f"{n}".encode() for n in range(6)}


async def test_who_stops_gets_no_more_and_may_still_acknowledge(broker: Opened) -> None:
    await published(broker, b"a")
    async with broker.consumer(10) as consumer:
        [delivery] = await taken(consumer, 1)
        await consumer.stop()
        await published(broker, b"b")
        await consumer.acknowledge(delivery)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await consumer.next()
    assert await broker.depths.of(QueueKind.PROCESSING) == 1


async def test_a_publisher_that_is_closed_takes_nothing(broker: Opened) -> None:
    async with broker.publisher(lambda message, refusal: None) as publisher:
        assert not await publisher.is_blocked()
    with pytest.raises(BrokerError):
        await publisher.send([Message(QueueKind.PROCESSING, "m", b"{}")])
    assert publisher.closed.done()


async def test_the_depth_counts_what_waits(broker: Opened) -> None:
    await published(broker, b"a", b"b")

    async def all_there() -> bool:
        return await broker.depths.of(QueueKind.PROCESSING) == 2

    async with asyncio.timeout(10):
        while not await all_there():
            await asyncio.sleep(0.05)
