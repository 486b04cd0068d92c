"""The API: its operations, and what they work with. Opening and closing is `api.server`'s part."""

from dataclasses import dataclass

from aiohttp import web

from api import (
    actions,
    application_list,
    applications,
    batches,
    console_files,
    details,
    docs,
    events,
    exports,
    health,
    lists,
    projections,
    queue,
    root,
    streams,
    websocket,
)
from api.admission import DOWNLOADS, READS, WRITES, Admission, Downloads
from api.broker import Broker
from api.console_files import CONSOLE, ConsoleFiles
from api.docs import DOCUMENTATION, Documentation
from api.door import door, tell_headers
from api.excel_builds import EXCEL_BUILDS, ExcelBuilds
from api.forms import FormReader
from api.health import HEALTH, Health
from api.idempotency import DUPLICATES, Duplicates
from api.keys import (
    AUDIENCE,
    BATCH_COMMANDS,
    BROKER,
    CLOCK,
    COMMANDS,
    CVS,
    EVENT_LOG,
    FORMS,
    LEASES,
    PAST,
    PUBLISH_RATES,
    QUERIES,
    SETTINGS,
    TOKENS,
)
from api.listeners import Audience
from api.publish_rates import PublishRates
from api.rate_limits import RATE_LIMITS, RateLimits
from api.response_headers import RESPONSE_HEADERS, ResponseHeaders
from api.routing import add_routes
from domain.batch_commands import BatchCommands
from domain.commands import ApplicationCommands
from domain.ports import Claims as Leases
from domain.ports import Clock, EventLog
from domain.retry import RetryPolicy
from infra.cv_store import CvStore
from infra.mongo import Mongo
from infra.rate_storage import RateLimitStorage
from infra.settings import Settings
from infra.tokens import Tokens
from projections.queries import Past, Queries

OPERATIONS = (
    *root.operations,
    *console_files.operations,
    *docs.operations,
    *health.operations,
    *applications.operations,
    *actions.operations,
    *events.operations,
    *batches.operations,
    *application_list.operations,
    *lists.operations,
    *details.operations,
    *exports.operations,
    *queue.operations,
    *projections.operations,
    *streams.operations,
    *websocket.operations,
)


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the handlers use, open."""

    settings: Settings
    log: EventLog
    mongo: Mongo
    queries: Queries
    cvs: CvStore
    health: Health
    clock: Clock
    broker: Broker
    publish_rates: PublishRates
    leases: Leases
    tokens: Tokens


def create_app(deps: Dependencies) -> web.Application:
    settings = deps.settings
    policy = RetryPolicy(settings.max_retries, settings.retry_base_delay, settings.retry_max_delay)
    app = web.Application(middlewares=[door])
    app[SETTINGS] = settings
    app[EVENT_LOG] = deps.log
    app[COMMANDS] = ApplicationCommands(deps.log, deps.clock, policy)
    app[BATCH_COMMANDS] = BatchCommands(deps.log, deps.clock)
    app[QUERIES] = deps.queries
    app[PAST] = Past(deps.log, deps.queries)
    app[CVS] = deps.cvs
    app[TOKENS] = deps.tokens
    app[CLOCK] = deps.clock
    app[FORMS] = FormReader(settings.max_body_bytes, settings.max_cv_bytes)
    app[BROKER] = deps.broker
    app[PUBLISH_RATES] = deps.publish_rates
    app[LEASES] = deps.leases
    app[HEALTH] = deps.health
    app[READS], app[WRITES], app[DOWNLOADS] = Admission(), Admission(), Downloads()
    app[RESPONSE_HEADERS] = ResponseHeaders(settings.cors_allowed_origins)
    app[DUPLICATES] = Duplicates()
    app[DOCUMENTATION] = Documentation(OPERATIONS, settings)
    app[CONSOLE] = ConsoleFiles()
    app[EXCEL_BUILDS] = ExcelBuilds()
    app[AUDIENCE] = Audience(deps.queries, settings.ws_max_connections_per_user)
    app[RATE_LIMITS] = limits = rate_limits(deps)
    if limits is not None:
        app.on_cleanup.append(lambda _: limits.close())
    add_routes(app, OPERATIONS)
    app.on_startup.extend((app[DOCUMENTATION].prepare, app[CONSOLE].prepare))
    app.on_response_prepare.append(tell_headers)
    app.on_shutdown.append(_say_goodbye)
    app.on_cleanup.append(_close_audience)
    return app


async def _say_goodbye(app: web.Application) -> None:
    """Streams do not end by themselves."""
    app[AUDIENCE].say_goodbye()


async def _close_audience(app: web.Application) -> None:
    await app[AUDIENCE].close()


def rate_limits(deps: Dependencies) -> RateLimits | None:
    """None: there are none."""
    if not deps.settings.rate_limit_enabled:
        return None
    return RateLimits(deps.settings, RateLimitStorage(deps.mongo, deps.clock), deps.clock)
