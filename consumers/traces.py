"""What the queues add to a trace: a message on its way to the broker, and a message that a worker works on.

A message names the span of its publishing, so the work follows from that; the event that it comes from names the
request, or the work, that caused it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from infra import tracing
from infra.logs import log_context
from infra.messages import Message, is_ours
from infra.rabbitmq import Delivery
from infra.tracing import Attributes, Kind, Span


class PublishSpans:
    """One queue's messages that are on their way: each from its sending until it is settled."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._open: dict[str, Span] = {}  # by message id

    def begin(self, message: Message) -> Message:
        """The message as it goes out."""
        if not tracing.is_on():
            return message
        span = tracing.follow(f"publish {self._queue}", Kind.PRODUCER, message.traceparent)
        if not span.recording:
            return message
        span.set(_told("publish", self._queue, message.message_id, message.correlation_id))
        self._open[message.message_id] = span
        return replace(message, traceparent=span.traceparent)

    def settled(self, message: Message, refusal: str | None) -> None:
        if span := self._open.pop(message.message_id, None):
            if refusal is not None:
                span.failed("refused")
            span.end()

    def lost(self) -> None:
        """What became of the rest is not known."""
        while self._open:
            _, span = self._open.popitem()
            span.failed("connection lost")
            span.end()


@contextmanager
def working_on(delivery: Delivery, queue: str) -> Iterator[None]:
    """One message, from its arrival until it is acknowledged; the log's lines tell its trace."""
    if not tracing.is_on():
        yield
        return
    begins = tracing.follow if is_ours(delivery.message_id) else tracing.entry
    with (
        begins(f"process {queue}", Kind.CONSUMER, delivery.traceparent) as span,
        log_context(trace_id=span.trace_id),
    ):
        if span.recording:
            span.set(_told("process", queue, delivery.message_id, delivery.correlation_id))
        yield


def _told(operation: str, queue: str, message_id: str | None, correlation_id: str | None) -> Attributes:
    told = {
        "messaging.system": "rabbitmq",
        "messaging.operation.type": "send" if operation == "publish" else operation,
        "messaging.operation.name": operation,
        "messaging.destination.name": queue,
        "messaging.message.id": message_id,
        "messaging.message.conversation_id": correlation_id,
    }
    return {name: value for name, value in told.items() if value is not None}
