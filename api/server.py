"""The API as a process: its stores opened, the application served, all closed in order.

It serves as soon as the event store is open. MongoDB and RabbitMQ may be away: submissions without a CV need neither,
reads answer 503 until MongoDB is back. So may OIDC_ISSUER: until its keys are there, every token gets 503, and the
process is not ready. When it is told to stop, it first says that it is not ready, then takes no new connection, and
says goodbye to the streams; what is asked and answered gets SHUTDOWN_GRACE_SECONDS (`HttpServer.finish`). Killed
instead, it loses nothing that it has answered: what is answered is durable.
"""

import asyncio
import contextlib
import errno
import logging
from collections.abc import AsyncIterator

from api.app import Dependencies, create_app
from api.broker import Broker
from api.gauges import Gauges
from api.health import EVENT_STORE, MONGODB, RABBITMQ, Health
from api.http_server import HttpServer
from api.keys import AUDIENCE
from api.listening import ListeningSite
from api.publish_rates import PublishRates
from infra import metrics
from infra.clock import SystemClock
from infra.cv_store import CvStore
from infra.event_log import open_event_log
from infra.issuer_keys import IssuerKeys
from infra.issuer_tokens import IssuerTokens
from infra.memory import rare_collections
from infra.mongo import Mongo
from infra.relay_store import create_tables
from infra.role_server import CannotListen
from infra.settings import Settings
from infra.tokens import SecretTokens, Tokens
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
            server.app[AUDIENCE].say_goodbye()
            await server.finish(settings.shutdown_grace_seconds)
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
        _tokens(settings) as tokens,
    ):
        await create_tables(event_store.database)
        queries = Queries(mongo, settings.read_wait_seconds)
        checks = {MONGODB: mongo.ping, RABBITMQ: broker.ping, EVENT_STORE: event_store.ping}
        health = Health(checks, queries.ready, lambda: tokens.ready, settings.health_check_timeout_seconds)
        rates = PublishRates()
        refreshing = asyncio.create_task(Gauges(event_store, queries, broker, clock, names, rates).keep_fresh())
        try:
            yield Dependencies(
                settings=settings,
                log=event_store.log,
                mongo=mongo,
                queries=queries,
                cvs=CvStore(mongo),
                health=health,
                clock=clock,
                broker=broker,
                publish_rates=rates,
                leases=event_store.claims,
                tokens=tokens,
            )
        finally:
            refreshing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await refreshing


@contextlib.asynccontextmanager
async def _tokens(settings: Settings) -> AsyncIterator[Tokens]:
    """Of the issuer, if there is one; it may be away."""
    issuer, audience = settings.oidc_issuer, settings.oidc_audience
    if issuer is None or audience is None:
        yield SecretTokens(settings.secret_key.get_secret_value(), settings.algorithm)
        return
    async with IssuerKeys(issuer) as keys:
        yield IssuerTokens(keys, issuer=issuer, audience=audience, user_claim=settings.oidc_user_claim)


async def listen(server: HttpServer, host: str, port: int) -> ListeningSite:
    """Raises CannotListen."""
    site = ListeningSite(server, host, port, BACKLOG)
    try:
        await site.start()
    except OSError as error:
        reason = "the port is taken" if error.errno == errno.EADDRINUSE else error.strerror or error
        raise CannotListen(f"Cannot listen at {host} port {port}: {reason}") from error
    logger.info("API listens on %s:%s", host, port, extra={"event_type": "api.listening"})
    return site
