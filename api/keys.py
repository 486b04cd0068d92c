"""What a handler finds in its application and in its request, by typed keys."""

from aiohttp import web

from api.broker import Broker
from api.forms import FormReader
from api.listeners import Audience
from api.publish_rates import PublishRates
from domain.batch_commands import BatchCommands
from domain.commands import ApplicationCommands
from domain.ports import Claims as Leases
from domain.ports import Clock, EventLog
from infra.cv_store import CvStore
from infra.settings import Settings
from infra.tokens import Claims, Tokens
from projections.queries import Past, Queries

SETTINGS = web.AppKey("SETTINGS", Settings)
EVENT_LOG: web.AppKey[EventLog] = web.AppKey("EVENT_LOG")
COMMANDS = web.AppKey("COMMANDS", ApplicationCommands)
BATCH_COMMANDS = web.AppKey("BATCH_COMMANDS", BatchCommands)
QUERIES = web.AppKey("QUERIES", Queries)
PAST = web.AppKey("PAST", Past)
CVS = web.AppKey("CVS", CvStore)
TOKENS: web.AppKey[Tokens] = web.AppKey("TOKENS")
CLOCK: web.AppKey[Clock] = web.AppKey("CLOCK")
BROKER = web.AppKey("BROKER", Broker)
PUBLISH_RATES = web.AppKey("PUBLISH_RATES", PublishRates)
LEASES: web.AppKey[Leases] = web.AppKey("LEASES")
FORMS = web.AppKey("FORMS", FormReader)
AUDIENCE = web.AppKey("AUDIENCE", Audience)

CORRELATION_ID = web.RequestKey("CORRELATION_ID", str)
TRACE_ID = web.RequestKey("TRACE_ID", str)
CLAIMS = web.RequestKey("CLAIMS", Claims)
AT_LEAST = web.RequestKey("AT_LEAST", int)
FIRST_BYTE_AT = web.RequestKey("FIRST_BYTE_AT", float)  # by the event loop's clock, of an answer that takes its time
