"""RabbitMQ: connecting, declaring, publishing with confirms, consuming (contract messaging.md 1, 2).

*Published* means that the broker has confirmed a message: it is routed to its queue and safe there. Nothing less does.

Each publisher and consumer has a connection of its own, because the broker throttles and blocks whole connections: a
queue that takes nothing must hold up no other. A connection is never repaired here. When it fails, everything that uses
it raises BrokerError, and the caller opens another one after a back-off.

Traps that this module closes (found on RabbitMQ 3.10, aio-pika 10, aiormq 7):
- The broker confirms messages that it could not route, so each goes out `mandatory`, and a return counts as a refusal.
- A failed passive declaration closes its channel, so it gets one of its own.
- A connection that is lost cancels, instead of failing, some of what waits on it: such a cancellation, which nobody
  asked for, becomes a BrokerError too.
- `basic_publish` costs a task and several locks a message. `Publisher` writes many messages at once and registers their
  confirmations itself, in the fields that aiormq's channel has for that.
- Properties that the client library cannot read end a connection, with each delivery anew (`amqp_decoding.py`).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import cast

import aio_pika
import aiormq
import pamqp.frame
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.connection import make_url
from aiormq.abc import ChannelFrame, DeliveredMessage
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.common import FieldTable
from pamqp.header import ContentHeader

from infra.amqp_decoding import decode_tolerantly
from infra.messages import Message, acceptable_traceparent

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0  # for a declaration, a cancel and the like
CLOSE_SECONDS = 5.0
HEARTBEAT_SECONDS = 10  # three missed ones end a connection


class BrokerError(Exception):
    """The broker cannot be reached, was lost, or refused a command."""


class BrokerRefused(BrokerError):
    """The broker is there, and refuses the command."""


@contextmanager
def broker_errors() -> Iterator[None]:
    """Turns every failure of the broker, of the client library and of time into a BrokerError."""
    task = asyncio.current_task()
    try:
        yield
        if task is not None and task.cancelling():
            raise asyncio.CancelledError  # the library's `wait_for` forgets one that meets its result (before 3.12)
    except aiormq.AMQPChannelError as error:
        raise BrokerRefused(f"RabbitMQ: {type(error).__name__}") from error
    except (aiormq.AMQPError, OSError, EOFError, TimeoutError, RuntimeError) as error:
        raise BrokerError(f"RabbitMQ: {type(error).__name__}") from error
    except asyncio.CancelledError as error:
        if task is None or task.cancelling():
            raise
        raise BrokerError("RabbitMQ: the connection was lost") from error


@asynccontextmanager
async def connect(url: str, name: str) -> AsyncIterator[AbstractConnection]:
    """One connection, shown to operators under `name`. Raises BrokerError."""
    for library in ("aiormq", "aio_pika"):  # who waits for a broker that is away tells it, once and not as an error
        logging.getLogger(library).setLevel(logging.CRITICAL)
    decode_tolerantly()
    properties: FieldTable = {"connection_name": name}
    connection = aio_pika.Connection(make_url(url, heartbeat=HEARTBEAT_SECONDS), client_properties=properties)
    try:
        with broker_errors():
            await connection.connect(CONNECT_SECONDS)
        yield connection
    finally:  # also what was never connected: dropped, it would close itself in a task that may find no loop
        with suppress(BrokerError), broker_errors():
            async with asyncio.timeout(CLOSE_SECONDS):
                await connection.close()


# -- queues -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QueueState:
    """`messages` that are ready, and consumers."""

    messages: int
    consumers: int


async def find_queue(connection: AbstractConnection, name: str) -> QueueState | None:
    """None for a queue that does not exist. Raises BrokerError."""
    with broker_errors():
        try:
            async with asyncio.timeout(ANSWER_SECONDS), open_channel(connection) as channel:
                found = await channel.queue_declare(name, passive=True)
        except aiormq.ChannelNotFoundEntity:
            return None
    return QueueState(found.message_count or 0, found.consumer_count or 0)


async def declare_queue(connection: AbstractConnection, name: str, queue_type: str) -> None:
    """Makes a queue that is missing; one that exists is used as it is. Raises BrokerError.

    `queue_type` is `classic`, `quorum`, or empty for the virtual host's default.
    """
    if await find_queue(connection, name) is not None:
        return
    with broker_errors():
        async with asyncio.timeout(ANSWER_SECONDS), open_channel(connection) as channel:
            arguments: FieldTable | None = {"x-queue-type": queue_type} if queue_type else None
            with suppress(aiormq.ChannelPreconditionFailed):  # another process has just made it, in its way
                await channel.queue_declare(name, durable=True, arguments=arguments)
    logger.info("queue made", extra={"event_type": "queue_declared", "queue": name})


@asynccontextmanager
async def open_channel(connection: AbstractConnection) -> AsyncIterator[aiormq.Channel]:
    """A channel of its own, without confirms; a command that is refused has closed it already."""
    channel = connection.channel(publisher_confirms=False)
    await channel.initialize()
    try:
        yield await _underlay(channel)
    finally:
        if not channel.is_closed:
            await channel.close()


async def _underlay(channel: AbstractChannel) -> aiormq.Channel:
    return cast(aiormq.Channel, await channel.get_underlay_channel())


# -- publishing -------------------------------------------------------------------------------------------------------

Settled = Callable[[Message, str | None], None]  # the second: why the broker refused it, or None when it is published


class Publisher:
    """One queue's way to the broker, opened by `open_publisher`."""

    def __init__(
        self, channel: aiormq.Channel, queue: str, settled: Settled, ready: Callable[[], Awaitable[None]]
    ) -> None:
        self._channel, self._settled, self._ready = channel, settled, ready
        publish = commands.Basic.Publish(exchange="", routing_key=queue, mandatory=True)
        self._publish = pamqp.frame.marshal(publish, channel.number)
        self.closed = channel.closing

    async def send(self, messages: Sequence[Message]) -> None:
        """Hands messages to the broker in this order; what becomes of each is told to `settled`.

        Returns when the socket has taken them, which may be never while the broker blocks. Raises BrokerError; then
        the outcome of all that is not settled is unknown, and the publisher must be given up.
        """
        with broker_errors():
            if self._channel.is_closed:
                raise aiormq.ChannelInvalidStateError
            payload = b"".join(self._register_and_encode(message) for message in messages)
            taken = self._channel.create_future()
            await self._channel.write_queue.put(ChannelFrame(payload, should_close=False, drain_future=taken))
            await taken

    async def is_blocked(self) -> bool:
        """Whether the broker has said that it takes nothing now, for lack of memory or disk."""
        try:
            async with asyncio.timeout(0.05):
                await self._ready()
        except TimeoutError:
            return True
        return False

    def _register_and_encode(self, message: Message) -> bytes:
        channel = self._channel
        channel.delivery_tag += 1
        confirmation: asyncio.Future[object] = channel.loop.create_future()
        confirmation.add_done_callback(partial(self._on_confirmation, message))
        channel.confirmations[channel.delivery_tag] = confirmation
        channel.message_id_delivery_tag[message.message_id] = channel.delivery_tag
        parts = [self._publish, pamqp.frame.marshal(_header(message), channel.number)]
        size = channel.max_content_size
        pieces = (message.body[begin : begin + size] for begin in range(0, len(message.body), size))
        parts.extend(pamqp.frame.marshal(ContentBody(piece), channel.number) for piece in pieces)
        return b"".join(parts)

    def _on_confirmation(self, message: Message, confirmation: asyncio.Future[object]) -> None:
        self._channel.message_id_delivery_tag.pop(message.message_id, None)
        if not confirmation.cancelled():
            error = confirmation.exception()
            self._settled(message, None if error is None else _refusal(error))


def _header(message: Message) -> ContentHeader:
    properties = commands.Basic.Properties(
        content_type="application/json",
        delivery_mode=2,
        message_id=message.message_id,
        correlation_id=message.correlation_id,
        headers={"traceparent": message.traceparent} if message.traceparent else None,
    )
    return ContentHeader(properties=properties, body_size=len(message.body))


def _refusal(error: BaseException) -> str:
    return "the queue is missing" if isinstance(error, aiormq.PublishError) else "the broker refused it"


@asynccontextmanager
async def open_publisher(url: str, queue: str, queue_type: str, settled: Settled) -> AsyncIterator[Publisher]:
    """Connects, makes the queue if it is missing, and turns confirms on. Raises BrokerError."""
    async with connect(url, f"relay {queue}") as connection:
        await declare_queue(connection, queue, queue_type)
        with broker_errors():
            async with asyncio.timeout(ANSWER_SECONDS):
                channel = connection.channel(publisher_confirms=True, on_return_raises=True)
                await channel.initialize()
        assert connection.transport is not None, "it is connected"
        yield Publisher(await _underlay(channel), queue, settled, connection.transport.ready)


# -- consuming --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message that the broker keeps until it is acknowledged."""

    body: bytes
    tag: int
    redelivered: bool
    message_id: str | None
    correlation_id: str | None
    traceparent: str | None


class Consumer:
    """The deliveries of one queue, opened by `open_consumer`. What is not acknowledged goes back to the queue."""

    def __init__(self, channel: aiormq.Channel) -> None:
        self._channel = channel
        self._arrived: asyncio.Queue[Delivery | None] = asyncio.Queue()  # bounded by the prefetch; None: no more come
        self._tag: str | None = None

    async def start(self, queue: str, prefetch: int) -> None:
        self._channel.on_consumer_cancel_callbacks.add(lambda _: self._arrived.put_nowait(None))
        self._channel.closing.add_done_callback(self._on_close)
        await self._channel.basic_qos(prefetch_count=prefetch)
        consuming = await self._channel.basic_consume(queue, self._on_message)
        self._tag = consuming.consumer_tag

    async def stop(self) -> None:
        """No new deliveries from now on; those under way can still be acknowledged. Raises BrokerError."""
        if self._tag is not None:
            with broker_errors():
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._channel.basic_cancel(self._tag)

    async def next(self) -> Delivery:
        """Waits for the next delivery. Raises BrokerError once there can be no more: lost, or the queue was deleted."""
        delivery = await self._arrived.get()
        if delivery is None:
            raise BrokerError("RabbitMQ: the queue is no longer delivered")
        return delivery

    async def acknowledge(self, delivery: Delivery) -> None:
        """Raises BrokerError when the connection is lost: the message then comes again."""
        with broker_errors():
            await self._channel.basic_ack(delivery.tag, wait=False)

    async def _on_message(self, message: DeliveredMessage) -> None:
        properties = message.header.properties
        assert message.delivery_tag is not None, "a delivery has a tag"
        self._arrived.put_nowait(
            Delivery(
                body=message.body,
                tag=message.delivery_tag,
                redelivered=bool(message.redelivered),
                message_id=properties.message_id or None,
                correlation_id=properties.correlation_id or None,
                traceparent=acceptable_traceparent((properties.headers or {}).get("traceparent")),
            )
        )

    def _on_close(self, closing: "asyncio.Future[object]") -> None:
        if not closing.cancelled():
            closing.exception()
        self._arrived.put_nowait(None)


@asynccontextmanager
async def open_consumer(url: str, queue: str, queue_type: str, prefetch: int) -> AsyncIterator[Consumer]:
    """Connects, makes the queue if it is missing, and begins to consume. Raises BrokerError."""
    async with connect(url, f"worker {queue}") as connection:
        await declare_queue(connection, queue, queue_type)
        with broker_errors():
            async with asyncio.timeout(ANSWER_SECONDS):
                channel = connection.channel(publisher_confirms=False)
                await channel.initialize()
                consumer = Consumer(await _underlay(channel))
                await consumer.start(queue, prefetch)
        try:
            yield consumer
        finally:  # a connection that is closed at once forgets the acknowledgements that it has not yet written
            with suppress(BrokerError), broker_errors():
                async with asyncio.timeout(CLOSE_SECONDS):
                    await channel.close()
