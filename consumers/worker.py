"""The worker: takes work from the queue, has it processed, and acknowledges when all that follows is in the log.

A message is acknowledged last, so a kill anywhere brings it again, to this worker or another one; what was done already
is then a no-op, by its version, by the application's state, or by its claim (`processing.py`). A message waits here,
unacknowledged, while a store that it needs is away or another worker has its application; others go on meanwhile.

What cannot be read is recorded (MessageRejected), acknowledged, and published as a dead letter from the log. Killed
between the two: the message comes again, and is recorded once.

When the connection is lost, what runs goes on under its claim, and what only waits is forgotten: the broker delivers it
again. The broker itself ends a connection on which a message is not acknowledged for 30 minutes (`consumer_timeout`).

On `stop` no new messages are taken, waiting ones go back to the queue, and running jobs get `SHUTDOWN_GRACE_SECONDS`;
then portal calls are broken off, and what has no end is given back through the log.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Protocol
from uuid import UUID, uuid4

from consumers.application_run import Tools
from consumers.backoff import Backoff, stopped_within
from consumers.claim_keeper import ClaimKeeper
from consumers.claim_watch import ClaimWatch
from consumers.cv_shelf import CvShelf
from consumers.documents import find_writer
from consumers.documents.cv_text import CvReader
from consumers.halt import Halt
from consumers.heartbeat import Heartbeat, beat_for_ever
from consumers.late_results import LateResults
from consumers.portals.registry import Portals
from consumers.processing import Handled, Processing, claim_name
from consumers.run_watch import RunWatch
from consumers.together import cancel, until_first
from consumers.traces import working_on
from domain.commands import ApplicationCommands
from domain.errors import NewerEvent, Overloaded, StoreError
from domain.event import Cause
from domain.rejected_message import MessageRejected, message_stream, raw_parts
from domain.retry import RetryPolicy
from infra import metrics, tracing
from infra.clock import SystemClock
from infra.cv_store import CvStore
from infra.event_log import EventStore
from infra.logs import log_context
from infra.messages import UnreadableMessage, Work, acceptable_correlation_id, read_work
from infra.mongo import Mongo
from infra.rabbitmq import BrokerError, Delivery, open_consumer
from infra.settings import Settings

logger = logging.getLogger(__name__)

LAST_APPENDS_SECONDS = 5.0  # after the grace: for what must still get into the log
ID_CHARACTERS = 200  # of an id that a message from outside names


async def run_worker(event_store: EventStore, settings: Settings, heartbeat: Heartbeat, stop: asyncio.Event) -> None:
    """Runs until `stop` is set. Raises NewerEvent, MongoNotReplicaSet, or ValueError for a setting."""
    async with AsyncExitStack() as opened:
        worker = await _opened_worker(event_store, settings, heartbeat, opened)
        await until_first(worker.run(stop), beat_for_ever(heartbeat))


async def _opened_worker(
    event_store: EventStore, settings: Settings, heartbeat: Heartbeat, opened: AsyncExitStack
) -> "Worker":
    mongo = await opened.enter_async_context(Mongo.of(settings))
    reader = await opened.enter_async_context(CvReader())
    portals = await opened.enter_async_context(await asyncio.to_thread(_portals, settings))
    holder = f"worker-{uuid4().hex}"
    keeper = await opened.enter_async_context(ClaimKeeper(event_store.claims, holder, settings.claim_seconds))
    watch = await opened.enter_async_context(ClaimWatch(event_store.claims, settings.claim_seconds))
    policy = RetryPolicy(settings.max_retries, settings.retry_base_delay, settings.retry_max_delay)
    tools = Tools(
        commands=ApplicationCommands(event_store.log, SystemClock(), policy),
        find_portal=portals.find,
        writer=await asyncio.to_thread(find_writer, settings.document_writer),
        read_cv=reader.text,
        halt=Halt(),
        late=LateResults(),
    )
    runs = RunWatch(event_store.log, settings.application_processing_queue)
    processing = Processing(tools, event_store.claims, keeper, CvShelf(CvStore(mongo)), runs)

    def consume() -> AbstractAsyncContextManager[Consumer]:
        queue, prefetch = settings.application_processing_queue, settings.worker_prefetch
        return open_consumer(settings.rabbitmq_url, queue, settings.queue_type, prefetch)

    def show(consumes: bool) -> None:
        heartbeat.says("rabbitmq", consumes)
        metrics.WORKER_ACTIVE.set(int(consumes), worker_name=metrics.APPLICATION_WORKER)

    show(False)
    return Worker(settings, processing, runs, watch, consume, show)


def _portals(settings: Settings) -> Portals:
    """Looks through the installed packages, so it is not for the event loop."""
    return Portals(
        settings.portals,
        default=settings.portal_default,
        sandbox_url=settings.sandbox_portal_url,
        timeout=settings.portal_timeout_seconds,
    )


class Consumer(Protocol):
    """The open deliveries of the processing queue (`infra.rabbitmq.Consumer`). All methods raise BrokerError."""

    async def next(self) -> Delivery:
        """Waits for the next delivery."""

    async def acknowledge(self, delivery: Delivery) -> None:
        """When this raises, the message comes again."""

    async def stop(self) -> None:
        """No new deliveries from now on."""


OpenConsumer = Callable[[], AbstractAsyncContextManager[Consumer]]


class Worker:
    """One worker process."""

    def __init__(
        self,
        settings: Settings,
        processing: Processing,
        runs: RunWatch,
        watch: ClaimWatch,
        open_consumer: OpenConsumer,
        show: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """`show` is told whether it consumes, as that changes."""
        self._settings, self._processing, self._runs, self._watch = settings, processing, runs, watch
        self._queue = settings.application_processing_queue
        self._open_consumer, self._show = open_consumer, show
        self._tools = processing.tools
        self._actor = f"worker:{processing.keeper.holder}"
        self._tasks: set[asyncio.Task[object]] = set()  # one for each message that is not acknowledged
        self._forgotten: set[asyncio.Task[object]] = set()  # those of them that end when they would wait again
        self._busy: dict[UUID, asyncio.Future[None]] = {}  # until an application's present message is handled
        self._newer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # -- consuming ----------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Consumes until `stop` is set, then ends in order. Raises NewerEvent."""
        backoff = Backoff()
        try:
            while not stop.is_set():
                try:
                    await self._consume(stop, backoff)
                except BrokerError as error:
                    logger.warning("broker is away", extra={"event_type": "broker_away", "error": str(error)})
                    await stopped_within(stop, backoff.seconds())
        finally:
            await self._finish()

    async def _consume(self, stop: asyncio.Event, backoff: Backoff) -> None:
        async with self._open_consumer() as consumer:
            backoff.reset()
            self._show(True)
            logger.info("worker consumes", extra={"event_type": "worker_started", "queue": self._queue})
            try:
                await until_first(stop.wait(), self._take_all(consumer), asyncio.wait([self._newer]))
            finally:
                self._show(False)
                self._forget_waiting()
            if self._newer.done():
                self._newer.result()
            await consumer.stop()
            await self._finish()

    async def _take_all(self, consumer: Consumer) -> None:
        while True:
            delivery = await consumer.next()
            task: asyncio.Task[object] = asyncio.create_task(self._handle(consumer, delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(self._forgotten.discard)

    def _forget_waiting(self) -> None:
        """The broker delivers again what has not been started, and what could not be."""
        for task in self._tasks - self._runs.tasks:
            task.cancel()
        self._forgotten |= self._tasks & self._runs.tasks

    def _end_if_forgotten(self) -> None:
        if asyncio.current_task() in self._forgotten:
            raise asyncio.CancelledError

    async def _finish(self) -> None:
        """Running jobs get the grace, then their portal calls are broken off; what follows still gets into the log."""
        self._forget_waiting()
        self._tools.halt.begin_nothing()
        await self._wait_for_tasks(self._settings.shutdown_grace_seconds)
        self._tools.halt.break_off()
        await self._wait_for_tasks(LAST_APPENDS_SECONDS)
        await cancel(self._tasks)
        await self._tools.late.finish(LAST_APPENDS_SECONDS)

    async def _wait_for_tasks(self, seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    # -- one message --------------------------------------------------------------------------------------------------

    async def _handle(self, consumer: Consumer, delivery: Delivery) -> None:
        backoff = Backoff()
        work = _read(delivery)
        with working_on(delivery, self._queue), log_context(**_told(delivery, work)):
            while not await self._done(delivery, work):
                self._end_if_forgotten()
                await asyncio.sleep(backoff.seconds())
            with contextlib.suppress(BrokerError):  # then it comes again
                await consumer.acknowledge(delivery)

    async def _done(self, delivery: Delivery, work: Work | UnreadableMessage) -> bool:
        """Whether the message may be acknowledged; if not, it is to be handled again after a back-off."""
        extra = {"event_type": "message_waits", "message_id": delivery.message_id}
        try:
            await self._attend_to(delivery, work)
        except NewerEvent as error:
            if not self._newer.done():
                self._newer.set_exception(error)
            return False
        except (StoreError, Overloaded) as error:
            logger.warning("a message waits for a store", extra=extra | {"error": str(error)})
            return False
        except Exception:
            logger.exception("a message could not be handled", extra=extra)
            return False
        return True

    async def _attend_to(self, delivery: Delivery, work: Work | UnreadableMessage) -> None:
        """Returns when all that follows from the message is in the log."""
        if isinstance(work, UnreadableMessage):
            await self._reject(delivery, self._cause(delivery, None), work)
            return
        cause = self._cause(delivery, work.correlation_id)
        while (handled := await self._in_turn(work, cause)) is Handled.CLAIMED:
            self._end_if_forgotten()
            await self._watch.until_free(claim_name(UUID(work.application_id)))
        if handled is Handled.UNKNOWN:
            reason = f"Application not found: {work.application_id[:ID_CHARACTERS]}"
            await self._reject(delivery, cause, UnreadableMessage(reason, "ApplicationNotFound", work.application_id))
        elif handled in {Handled.SUCCESS, Handled.FAILED}:
            metrics.QUEUE_MESSAGES_CONSUMED_TOTAL.inc(queue_name=self._queue, status=handled)

    async def _in_turn(self, work: Work, cause: Cause) -> Handled:
        """Messages of one application are handled one after the other."""
        id = work.stream_id
        if id is None:
            return Handled.UNKNOWN
        while other := self._busy.get(id):
            await asyncio.wait([other])
        done = self._busy[id] = asyncio.get_running_loop().create_future()
        try:
            return await self._processing.handle(work, cause)
        finally:
            del self._busy[id]
            done.set_result(None)

    def _cause(self, delivery: Delivery, correlation_id: str | None) -> Cause:
        correlated = correlation_id or acceptable_correlation_id(delivery.correlation_id)
        return Cause(self._actor, correlated, delivery.message_id, tracing.traceparent() or delivery.traceparent)

    async def _reject(self, delivery: Delivery, cause: Cause, error: UnreadableMessage) -> None:
        rejected = MessageRejected(
            queue=self._queue,
            message_id=delivery.message_id,
            application_id=error.application_id and error.application_id[:ID_CHARACTERS],
            reason=str(error),
            error_type=error.error_type,
            **raw_parts(delivery.body),
        )
        stream_id = message_stream(delivery.message_id, delivery.body)
        await self._tools.commands.reject(stream_id, rejected, cause, redelivered=delivery.redelivered)
        metrics.QUEUE_MESSAGES_CONSUMED_TOTAL.inc(queue_name=self._queue, status="rejected")
        extra = {"event_type": "message_rejected", "message_id": delivery.message_id, "error": str(error)}
        logger.warning("message rejected", extra=extra)


def _read(delivery: Delivery) -> Work | UnreadableMessage:
    try:
        return read_work(delivery.body)
    except UnreadableMessage as error:
        return error


def _told(delivery: Delivery, work: Work | UnreadableMessage) -> Mapping[str, str | None]:
    """What the message says of itself, for the log's lines."""
    told = {
        "correlation_id": delivery.correlation_id,
        "application_id": work.application_id and work.application_id[:ID_CHARACTERS],
    }
    if isinstance(work, Work):
        told["user_id"] = work.user_id[:ID_CHARACTERS]
        told["correlation_id"] = work.correlation_id or delivery.correlation_id
    return told
