"""The broker's adapter on a real RabbitMQ (contract messaging.md 1, 2)."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aio_pika.abc import AbstractConnection

from infra.local_servers import free_port
from infra.messages import Message, QueueKind
from infra.rabbitmq import (
    BrokerError,
    Publisher,
    QueueState,
    connect,
    declare_queue,
    find_queue,
    open_consumer,
    open_publisher,
)
from tests.queues import Queues
from tests.tcp_proxy import TcpProxy
from tests.workshop import until

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def work(queues: Queues) -> str:
    return queues.names.processing


@pytest.fixture
async def connection(rabbitmq_url: str) -> AsyncIterator[AbstractConnection]:
    async with connect(rabbitmq_url, "test") as connection:
        yield connection


class Settling:
    """What became of each message."""

    def __init__(self) -> None:
        self.of: dict[str, str | None] = {}

    def __call__(self, message: Message, refusal: str | None) -> None:
        self.of[message.message_id] = refusal


def a_message(id: str = "m-1", body: bytes = b"{}") -> Message:
    return Message(QueueKind.PROCESSING, id, body, "c-1", TRACE)


async def send(publisher: Publisher, settling: Settling, *messages: Message) -> None:
    await publisher.send(messages)
    await until(lambda: len(settling.of) >= len(messages), 15)


# -- queues -----------------------------------------------------------------------------------------------------------


async def test_a_missing_queue_is_made_durable(connection: AbstractConnection, queues: Queues, work: str) -> None:
    assert await find_queue(connection, work) is None
    await declare_queue(connection, work, "")
    assert await find_queue(connection, work) == QueueState(0, 0)
    await queues.make(work, durable=True)  # the broker refuses another durability


async def test_a_queue_that_exists_is_used_as_it_is(connection: AbstractConnection, queues: Queues, work: str) -> None:
    await queues.make(work, {"x-max-length": 5}, durable=False)
    await declare_queue(connection, work, "quorum")
    await queues.put(work, b"{}")
    assert (await queues.take(work, 1))[0].body == b"{}"


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
async def test_the_kind_of_a_new_queue_can_be_asked_for(
    connection: AbstractConnection, queues: Queues, work: str, queue_type: str
) -> None:
    await declare_queue(connection, work, queue_type)
    await queues.make(work, {"x-queue-type": queue_type})  # the broker refuses another type


async def test_two_that_make_a_queue_at_the_same_moment_both_have_it(
    rabbitmq_url: str, queues: Queues, work: str
) -> None:
    async def make(queue_type: str) -> None:
        async with connect(rabbitmq_url, "test") as connection:
            await declare_queue(connection, work, queue_type)

    await asyncio.gather(*(make(queue_type) for queue_type in ("classic", "quorum", "classic", "")))
    assert await queues.depth(work) == 0


async def test_a_broker_that_is_away_is_an_error_of_one_kind() -> None:
    with pytest.raises(BrokerError):
        async with connect(f"amqp://guest:guest@127.0.0.1:{free_port()}/", "test"):
            pass


async def test_a_wrong_password_is_an_error_of_the_same_kind(rabbitmq_url: str) -> None:
    with pytest.raises(BrokerError) as refused:
        async with connect(rabbitmq_url.replace("guest:guest", "guest:wrong"), "test"):
            pass
    assert "wrong" not in str(refused.value)


# -- publishing -------------------------------------------------------------------------------------------------------


async def test_a_message_has_the_promised_properties(rabbitmq_url: str, queues: Queues, work: str) -> None:
    settling = Settling()
    async with open_publisher(rabbitmq_url, work, "", settling) as publisher:
        await send(publisher, settling, a_message())
    [arrived] = await queues.take(work, 1)
    assert settling.of == {"m-1": None}
    assert (arrived.message_id, arrived.correlation_id, arrived.delivery_mode) == ("m-1", "c-1", 2)
    assert (arrived.content_type, arrived.headers) == ("application/json", {"traceparent": TRACE})


async def test_many_messages_arrive_in_order(rabbitmq_url: str, queues: Queues, work: str) -> None:
    settling = Settling()
    async with open_publisher(rabbitmq_url, work, "", settling) as publisher:
        await send(publisher, settling, *(a_message(f"m-{n}") for n in range(500)))
    assert [message.message_id for message in await queues.take(work, 500)] == [f"m-{n}" for n in range(500)]


@pytest.mark.parametrize("size", [0, 131_063, 131_064, 131_065, 400_000])
async def test_a_body_of_any_size_arrives_whole(rabbitmq_url: str, queues: Queues, work: str, size: int) -> None:
    settling, body = Settling(), bytes(n % 251 for n in range(size))
    async with open_publisher(rabbitmq_url, work, "", settling) as publisher:
        await send(publisher, settling, a_message("m-1", body), a_message("m-2"))
    first, second = await queues.take(work, 2)
    assert first.body == body
    assert second.message_id == "m-2"


async def test_a_queue_that_is_gone_is_a_refusal(rabbitmq_url: str, queues: Queues, work: str) -> None:
    settling = Settling()
    async with open_publisher(rabbitmq_url, work, "", settling) as publisher:
        await queues.remove(work)
        await send(publisher, settling, a_message())
    assert settling.of == {"m-1": "the queue is missing"}


async def test_a_full_queue_refuses_what_it_does_not_take(rabbitmq_url: str, queues: Queues, work: str) -> None:
    await queues.make(work, {"x-max-length": 2, "x-overflow": "reject-publish"})
    settling = Settling()
    async with open_publisher(rabbitmq_url, work, "", settling) as publisher:
        for n in range(3):
            await send(publisher, settling, *(a_message(f"m-{m}") for m in range(n, n + 1)))
            await until(lambda n=n: len(settling.of) == n + 1)  # type: ignore[misc]
    assert settling.of == {"m-0": None, "m-1": None, "m-2": "the broker refused it"}


async def test_a_lost_connection_is_told(rabbitmq_url: str, work: str, queues: Queues) -> None:
    host, port = rabbitmq_url.rsplit("@", 1)[1].rstrip("/").split(":")
    async with TcpProxy(host, int(port)) as proxy:
        url = f"amqp://guest:guest@127.0.0.1:{proxy.listens}/"
        async with open_publisher(url, work, "", Settling()) as publisher:
            proxy.cut_at = b"the last words"
            await publisher.send([a_message("m-1", b"the last words")])
            await asyncio.wait_for(asyncio.wait([publisher.closed]), 5)
            with pytest.raises(BrokerError):
                await publisher.send([a_message("m-2")])


# -- consuming --------------------------------------------------------------------------------------------------------


async def test_deliveries_come_with_their_properties_and_go_when_acknowledged(
    rabbitmq_url: str, queues: Queues, work: str
) -> None:
    await queues.make(work)
    await queues.put(work, b"one", message_id="m-1", correlation_id="c-1", headers={"traceparent": TRACE})
    async with open_consumer(rabbitmq_url, work, "", 10) as consumer:
        delivery = await consumer.next()
        assert (delivery.body, delivery.message_id, delivery.correlation_id) == (b"one", "m-1", "c-1")
        assert (delivery.traceparent, delivery.redelivered) == (TRACE, False)
        await consumer.acknowledge(delivery)
    assert await queues.depth(work) == 0


async def test_what_is_not_acknowledged_goes_back_marked_as_redelivered(
    rabbitmq_url: str, queues: Queues, work: str
) -> None:
    await queues.make(work)
    await queues.put(work, b"one", headers={"traceparent": "nonsense", "other": 7})
    async with open_consumer(rabbitmq_url, work, "", 10) as consumer:
        assert (await consumer.next()).traceparent is None
    async with open_consumer(rabbitmq_url, work, "", 10) as consumer:
        assert (await consumer.next()).redelivered


async def test_no_more_are_held_than_the_prefetch(rabbitmq_url: str, queues: Queues, work: str) -> None:
    await queues.make(work)
    for n in range(5):
        await queues.put(work, b"%d" % n)
    async with open_consumer(rabbitmq_url, work, "", 2) as consumer:
        first = await consumer.next()
        await consumer.next()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(consumer.next(), 0.2)
        await consumer.acknowledge(first)
        assert (await consumer.next()).body == b"2"


async def test_after_a_stop_nothing_new_comes_but_what_is_held_can_be_acknowledged(
    rabbitmq_url: str, queues: Queues, work: str
) -> None:
    await queues.make(work)
    await queues.put(work, b"one")
    async with open_consumer(rabbitmq_url, work, "", 10) as consumer:
        delivery = await consumer.next()
        await consumer.stop()
        await queues.put(work, b"two")
        await consumer.acknowledge(delivery)
    assert await queues.depth(work) == 1


async def test_a_consumer_whose_queue_is_deleted_is_told(rabbitmq_url: str, queues: Queues, work: str) -> None:
    async with open_consumer(rabbitmq_url, work, "", 10) as consumer:
        await queues.remove(work)
        with pytest.raises(BrokerError):
            await asyncio.wait_for(consumer.next(), 5)
