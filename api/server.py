"""The API as a process: its stores opened, the application served, all closed in order.

It serves as soon as the event store is open. MongoDB and RabbitMQ may be away: submissions without a CV need neither,
reads answer 503 until MongoDB is back. When it is told to stop, it first says that it is not ready, then takes no new
connection; what runs gets SHUTDOWN_GRACE_SECONDS, and so do requests on connections that are still open. Killed
instead, it loses nothing that it has answered: what is answered is durable.
"""

import asyncio
import contextlib
import errno
import logging
from collections.abc import AsyncIterator

from aiohttp import web

from api.app import Dependencies, create_app
from api.broker import Broker
from api.gauges import Gauges
from api.health import EVENT_STORE, MONGODB, RABBITMQ, Health
from api.http_server import HttpServer
from api.publish_rates import PublishRates
from api.running import RUNNING
from infra import metrics
from infra.clock import SystemClock
from infra.cv_store import CvStore
from infra.event_log import open_event_log
from infra.memory import rare_collections
from infra.mongo import Mongo
from infra.relay_store import create_tables
from infra.role_server import CannotListen
from infra.settings import Settings
from projections.queries import Queries

logger = logging.getLogger(__name__)

CLOSING_SECONDS = 1.0  # for each connection, once nothing runs any more
BACKLOG = 1024  # connections that wait to be accepted


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serves until `stop` is set. Raises CannotListen, MongoNotReplicaSet, or a StoreError without an event store."""
    await asyncio.to_thread(metrics.describe_service, settings.service_name, settings.environment)
    async with open_dependencies(settings) as deps:
        server = HttpServer(create_app(deps), CLOSING_SECONDS)
        await server.setup()
        try:
            with rare_collections():
                site = await listen(server, settings.host, settings.port)
                await stop.wait()
            deps.health.ending = True
            await site.stop()
            await server.app[RUNNING].ended(settings.shutdown_grace_seconds)
        finally:
            await server.cleanup()


@contextlib.asynccontextmanager
async def open_dependencies(settings: Settings) -> AsyncIterator[Dependencies]:
    clock = SystemClock()
    names = (settings.application_processing_queue, settings.middleware_queue, settings.application_dlq)
    async with (
        open_event_log(
            settings.event_store, pool_size=settings.event_store_pool_size, batch_max=settings.append_batch_max
        ) as event_store,
        Mongo.of(settings) as mongo,
        Broker(settings.rabbitmq_url, settings.application_processing_queue) as broker,
    ):
        await create_tables(event_store.database)
        queries = Queries(mongo, settings.read_wait_seconds)
        checks = {MONGODB: mongo.ping, RABBITMQ: broker.ping, EVENT_STORE: event_store.ping}
        health = Health(checks, queries.ready, settings.health_check_timeout_seconds)
        rates = PublishRates()
        refreshing = asyncio.create_task(Gauges(event_store, queries, broker, clock, names, rates).keep_fresh())
        try:
            yield Dependencies(
                settings,
                event_store.log,
                mongo,
                queries,
                CvStore(mongo),
                health,
                clock,
                broker,
                rates,
                event_store.claims,
            )
        finally:
            refreshing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await refreshing


async def listen(server: HttpServer, host: str, port: int) -> web.TCPSite:
    """Raises CannotListen."""
    site = web.TCPSite(server, host, port, backlog=BACKLOG)
    try:
        await site.start()
    except OSError as error:
        reason = "the port is taken" if error.errno == errno.EADDRINUSE else error.strerror or error
        raise CannotListen(f"Cannot listen at {host} port {port}: {reason}") from error
    logger.info("API listens on %s:%s", host, port, extra={"event_type": "api.listening"})
    return site
