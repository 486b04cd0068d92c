"""Metrics of the whole service, told by who stands beside its roles, every 15 s (contract metrics.md 1).

How many applications stand in each status, how far the read models are behind the log's head (measured here, so that a
dead projector shows), how deep the queues are, and what the relay has published. Each stands alone: what cannot be
asked now keeps its last value. But read models that cannot be asked stand still: their lag grows with the log. Every
API process shows the same numbers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from api.broker import Broker
from api.lag import age_after
from api.publish_rates import PublishRates
from domain.application_events import Status
from domain.errors import ReadModelBehind, StoreError
from domain.ports import Clock
from infra import metrics
from infra.event_log import EventStore
from infra.rabbitmq import BrokerError, find_queue
from infra.relay_store import read_totals
from projections.queries import Queries

logger = logging.getLogger(__name__)

EVERY_SECONDS = 15.0
REFRESH_SECONDS = 10.0  # for one of them
POSITIONS_SECONDS = 6.0  # of these for the read models: the client looks five seconds for a server


@dataclass(frozen=True, slots=True)
class Gauges:
    event_store: EventStore
    queries: Queries
    broker: Broker
    clock: Clock
    queue_names: Sequence[str]
    publish_rates: PublishRates
    _positions: dict[str, int] = field(default_factory=dict)  # as they were last known

    async def keep_fresh(self) -> None:
        """Runs until it is cancelled."""
        while True:
            refreshes = (self.applications, self.lags, self.queues, self.relay_totals)
            await asyncio.gather(*map(self._try, refreshes))
            await asyncio.sleep(EVERY_SECONDS)

    async def applications(self) -> None:
        counts = await self.queries.application_counts()
        for status, count in counts.items():
            metrics.APPLICATIONS_BY_STATUS.set(count, status=status.value)
        metrics.APPLICATIONS_PENDING_TOTAL.set(counts[Status.PENDING])

    async def lags(self) -> None:
        try:
            async with asyncio.timeout(POSITIONS_SECONDS):
                self._positions.update(await self.queries.positions())
        except (StoreError, ReadModelBehind, TimeoutError):
            await self._show_lags()
            raise
        await self._show_lags()

    async def _show_lags(self) -> None:
        head = await self.event_store.log.head()
        for model, position in self._positions.items():
            metrics.PROJECTION_LAG_EVENTS.set(max(0, head - position), projection=model)
            age = await age_after(self.event_store.log, position, self.clock)
            metrics.PROJECTION_LAG_SECONDS.set(age, projection=model)

    async def queues(self) -> None:
        for name in self.queue_names:
            found = await find_queue(self.broker.connection, name)
            metrics.QUEUE_DEPTH.set(found.messages if found else 0, queue_name=name)

    async def relay_totals(self) -> None:
        totals = await read_totals(self.event_store.database)
        self.publish_rates.saw(asyncio.get_running_loop().time(), totals.published)
        for queue, total in totals.published.items():
            metrics.QUEUE_MESSAGES_PUBLISHED_TOTAL.set(total, queue_name=queue)
        for queue, total in totals.failures.items():
            metrics.QUEUE_PUBLISH_FAILURES_TOTAL.set(total, queue_name=queue)
        for kind, total in totals.dead_letters.items():
            metrics.DLQ_MESSAGES_TOTAL.set(total, original_queue=kind.original_queue, error_type=kind.error_type)

    async def _try(self, refresh: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(REFRESH_SECONDS):
                await refresh()
        except (StoreError, ReadModelBehind, BrokerError, TimeoutError) as error:
            logger.warning("metrics not refreshed", extra={"event_type": "metrics_stale", "error": repr(error)})
        except Exception:
            logger.exception("metrics not refreshed", extra={"event_type": "metrics_stale"})
