"""One queue's way from the log to the broker: hundreds of messages in flight, in order for each application.

A parcel is *in hand* from `put` until the broker has confirmed it. While one of an application is on its way, its next
ones wait, so that they arrive in order for the first time even when one is refused; those of others go on.

A refusal (the queue is full or missing), a lost connection or a confirmation that does not come within CONFIRM_SECONDS
closes the connection. After a back-off of 1 to 30 s a new one is opened, the queue is made if it is missing, and all
that is in hand goes out again: one message first, then twice as many after each confirmation, so that a queue that
takes nothing is not flooded. What was confirmed unseen is then there twice, under one message id.

Killed at any line: what is in hand lies beyond the checkpoint, and the next relay reads it from the log again.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from consumers.backoff import Backoff
from consumers.feed import Parcel
from consumers.traces import PublishSpans
from infra.messages import Message
from infra.rabbitmq import BrokerError, Settled

logger = logging.getLogger(__name__)

IN_HAND_MAX = 1_000  # parcels, waiting ones too
IN_FLIGHT_MAX = 512  # messages without a confirmation
CHUNK = 64  # messages written at once
CONFIRM_SECONDS = 30.0


class Publisher(Protocol):
    """One queue's open way to the broker (`infra.rabbitmq.Publisher`)."""

    closed: "asyncio.Future[object]"

    async def send(self, messages: Sequence[Message]) -> None:
        """What becomes of each is told to the opener's `Settled`. Raises BrokerError: then it must be given up."""

    async def is_blocked(self) -> bool:
        """Whether the broker has said that it takes nothing now."""


OpenPublisher = Callable[[Settled], AbstractAsyncContextManager[Publisher]]


class Progress(Protocol):
    """Whom a lane tells what has become of its parcels."""

    def published(self, parcel: Parcel) -> None: ...

    def not_published(self, parcel: Parcel) -> None:
        """Refused, or without a confirmation: it will be sent again."""


@dataclass(slots=True)
class _Pace:
    """How many may be in flight now: one after a failure, then more with each confirmation."""

    allowed: int = 1

    def failed(self) -> None:
        self.allowed = 1

    def confirmed(self) -> None:
        self.allowed = min(self.allowed * 2, IN_FLIGHT_MAX)


class Lane:
    """One queue. A lane that is not `enabled` takes parcels in hand and publishes none."""

    def __init__(
        self,
        queue: str,
        open_publisher: OpenPublisher,
        progress: Progress,
        *,
        enabled: bool = True,
        backoff: Backoff | None = None,
    ) -> None:
        self.queue, self._open, self._progress, self._enabled = queue, open_publisher, progress, enabled
        self._in_hand: OrderedDict[str, Parcel] = OrderedDict()  # by message id, in the order of putting
        self._ready: deque[Parcel] = deque()
        self._sent: dict[str, Parcel] = {}
        self._next_of: dict[UUID, deque[Parcel]] = {}  # for each application with one on its way: those that follow it
        self._room = asyncio.Semaphore(IN_HAND_MAX)
        self._changed = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._spans = PublishSpans(queue)
        self._pace, self._backoff = _Pace(), backoff or Backoff()
        self._draining = False
        self._refusal: str | None = None
        self._confirmed_at = 0.0  # or the beginning of waiting, by the loop's clock

    @property
    def oldest(self) -> Parcel | None:
        """The first parcel in hand."""
        return next(iter(self._in_hand.values()), None)

    @property
    def in_hand(self) -> int:
        return len(self._in_hand)

    async def put(self, parcel: Parcel) -> None:
        """Takes a parcel in hand, and waits for room if there are many."""
        await self._room.acquire()
        self._in_hand[parcel.message.message_id] = parcel
        self._empty.clear()
        self._line_up(parcel)
        self._changed.set()

    async def empty(self) -> None:
        """Waits until all that was put is published."""
        await self._empty.wait()

    async def drained(self) -> None:
        """Sends no more, and waits until all that was sent is settled."""
        self._draining = True
        while self._sent:
            self._changed.clear()
            await self._changed.wait()

    async def run(self) -> None:
        """Publishes for ever, through outages of the broker."""
        if not self._enabled:
            await asyncio.get_running_loop().create_future()
        while True:
            try:
                async with self._open(self._on_settled) as publisher:
                    await self._publish(publisher)
            except BrokerError as error:
                extra = {"event_type": "publish_failed", "queue": self.queue, "error": self._refusal or str(error)}
                logger.warning("messages cannot be published", extra=extra)
            self._take_back()
            await asyncio.sleep(self._backoff.seconds())

    # -- sending ------------------------------------------------------------------------------------------------------

    async def _publish(self, publisher: Publisher) -> None:
        """Raises BrokerError when the connection is lost, or when all in flight is settled after a refusal."""
        publisher.closed.add_done_callback(lambda _: self._changed.set())
        while not publisher.closed.done():
            self._changed.clear()
            while self._may_send():
                await self._send(publisher)
            if self._refusal is not None and not self._sent:
                raise BrokerError(self._refusal)
            await self._wait_for_change(publisher)
        raise BrokerError("RabbitMQ: the connection was lost")

    def _may_send(self) -> bool:
        return bool(self._ready) and len(self._sent) < self._pace.allowed and not (self._refusal or self._draining)

    async def _send(self, publisher: Publisher) -> None:
        count = min(CHUNK, len(self._ready), self._pace.allowed - len(self._sent))
        parcels = [self._ready.popleft() for _ in range(count)]
        if not self._sent:
            self._confirmed_at = asyncio.get_running_loop().time()
        self._sent.update((parcel.message.message_id, parcel) for parcel in parcels)
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                await publisher.send([self._spans.begin(parcel.message) for parcel in parcels])
        except TimeoutError:
            raise BrokerError("RabbitMQ: the connection takes nothing") from None

    async def _wait_for_change(self, publisher: Publisher) -> None:
        """Raises BrokerError when confirmations are overdue, unless the broker has said that it is blocked."""
        try:
            async with asyncio.timeout(CONFIRM_SECONDS if self._sent else None):
                await self._changed.wait()
        except TimeoutError:
            overdue = asyncio.get_running_loop().time() - self._confirmed_at >= CONFIRM_SECONDS
            if overdue and not await publisher.is_blocked():
                raise BrokerError("RabbitMQ: confirmations do not come") from None

    # -- what becomes of it -------------------------------------------------------------------------------------------

    def _on_settled(self, message: Message, refusal: str | None) -> None:
        parcel = self._sent.pop(message.message_id, None)
        if parcel is None:
            return  # of a connection that was given up: it goes out again
        self._changed.set()
        self._spans.settled(message, refusal)
        if refusal is not None:
            self._refusal = refusal
            self._progress.not_published(parcel)
            return
        self._confirmed_at = asyncio.get_running_loop().time()
        self._pace.confirmed()
        self._backoff.reset()
        self._drop(parcel)
        self._progress.published(parcel)

    def _drop(self, parcel: Parcel) -> None:
        del self._in_hand[parcel.message.message_id]
        self._room.release()
        if not self._in_hand:
            self._empty.set()
        if following := self._next_of[parcel.stream_id]:
            self._ready.append(following.popleft())
        else:
            del self._next_of[parcel.stream_id]

    def _line_up(self, parcel: Parcel) -> None:
        if parcel.stream_id in self._next_of:
            self._next_of[parcel.stream_id].append(parcel)
        else:
            self._next_of[parcel.stream_id] = deque()
            self._ready.append(parcel)

    def _take_back(self) -> None:
        """All that is in hand is to be sent again, in its order."""
        for parcel in self._sent.values():
            self._progress.not_published(parcel)
        self._sent.clear()
        self._spans.lost()
        self._ready.clear()
        self._next_of.clear()
        self._refusal = None
        self._pace.failed()
        for parcel in self._in_hand.values():
            self._line_up(parcel)
