"""What a worker tells of its runs: metrics, log lines, and which tasks are at work (contract metrics.md 1, 5)."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime

from consumers.application_run import ApplicationRun
from domain.application_events import ProcessingStarted, RetryRequested, Status
from domain.errors import StoreError
from domain.event import RecordedEvent
from domain.ports import EventLog
from infra import metrics
from infra.logs import log_context

logger = logging.getLogger(__name__)


class RunWatch:
    """A `processing.Watcher`. `tasks` are those that start an application, or have started one."""

    def __init__(self, log: EventLog, queue: str) -> None:
        self._log, self._queue = log, queue
        self.tasks: set[asyncio.Task[object]] = set()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        self.tasks.add(task)
        try:
            yield
        finally:
            self.tasks.discard(task)

    @asynccontextmanager
    async def running(self, run: ApplicationRun) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        begin, retries = loop.time(), run.loaded.application.retries_used
        started_at, starts = run.loaded.last_at, run.loaded.application.starts
        with log_context(**run.loaded.told):
            try:
                yield
            finally:
                seconds = loop.time() - begin
                metrics.QUEUE_MESSAGE_PROCESSING_DURATION_SECONDS.observe(seconds, queue_name=self._queue)
        application = run.loaded.application
        if application.retries_used > retries:
            metrics.WORKER_RETRY_TOTAL.inc(worker_name=metrics.APPLICATION_WORKER, attempt=application.retries_used)
        if application.status in {Status.SUCCESS, Status.FAILED}:
            picked_up_at = started_at if starts == 1 else await self._picked_up_at(run, started_at)
            self._tell_end(run, (run.loaded.last_at - picked_up_at).total_seconds())
        else:
            self._tell(run, "application.waiting", seconds)

    def _tell_end(self, run: ApplicationRun, seconds: float) -> None:
        status = run.loaded.application.status
        metrics.APPLICATIONS_PROCESSED_TOTAL.inc(status=status)
        metrics.APPLICATION_PROCESSING_DURATION_SECONDS.observe(seconds, status=status)
        self._tell(run, f"application.{status}", seconds)

    def _tell(self, run: ApplicationRun, event_type: str, seconds: float) -> None:
        extra = {"event_type": event_type, "duration": round(seconds, 3), **run.loaded.told}
        logger.info("application processed", extra=extra)

    async def _picked_up_at(self, run: ApplicationRun, otherwise: datetime) -> datetime:
        """When a worker first took it up since it was submitted, or since a person's retry."""
        with contextlib.suppress(StoreError):
            return _first_start(await self._log.read_stream(run.loaded.application.id)) or otherwise
        return otherwise


def _first_start(recorded: Sequence[RecordedEvent]) -> datetime | None:
    first = None
    for one in recorded:
        match one.event:
            case RetryRequested():
                first = None
            case ProcessingStarted():
                first = first or one.metadata.at
            case _:
                pass
    return first
