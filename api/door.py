"""The one layer around every handler: who calls, under which id, and what he is told when it fails.

In this order: the correlation id, a place (`admission.py`), the token, the rate limit, all before any body is read; the
handler. Whatever is raised becomes the one shape of an error. A caller who has gone gets nothing, and is no error.
"""

import logging

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from api.admission import READS, WRITES, Admission, admitted
from api.correlation import correlation_id_of, tell_correlation_id
from api.errors import ErrorKind, PayloadTooLarge, RequestError, RouteNotFound, error_response, kind_of
from api.health import HEALTH
from api.keys import CLAIMS, CLOCK, CORRELATION_ID, TOKENS, TRACE_ID
from api.operations import Bucket, Media, Operation
from api.rate_limits import RATE_LIMITS, count_refusal, tell_standing
from api.request_log import OPERATION, in_progress
from api.request_trace import request_span, tell_status
from api.response_headers import RESPONSE_HEADERS
from api.routing import ROUTES, UNMATCHED
from domain.errors import DomainError, NewerEvent, Overloaded
from infra.logs import log_context
from infra.tokens import Claims, bearer_token, is_bearer

logger = logging.getLogger(__name__)

HTTP_ERRORS: dict[int, type[RequestError]] = {404: RouteNotFound, 413: PayloadTooLarge}  # aiohttp's own


@web.middleware
async def door(request: web.Request, handler: Handler) -> web.StreamResponse:
    operation = request.app[ROUTES].get(request.match_info.route, UNMATCHED)
    request[OPERATION] = operation
    request[CORRELATION_ID] = correlation_id = correlation_id_of(request.headers)
    with in_progress(request), request_span(request, operation) as span:
        if span.trace_id is not None:
            request[TRACE_ID] = span.trace_id
        with log_context(correlation_id=correlation_id, trace_id=span.trace_id):
            response = await _answer(request, handler, operation)
        tell_status(span, response.status)
    return response


async def _answer(request: web.Request, handler: Handler, operation: Operation) -> web.StreamResponse:
    try:
        with admitted(request, _places(request, operation)):
            await _let_in(request, operation)
            return await handler(request)
    except web.HTTPException as error:
        refused = HTTP_ERRORS.get(error.status, RequestError)(error.reason)
        return error_response(refused, request[CORRELATION_ID], request.app[CLOCK].now())
    except Exception as error:
        if isinstance(error, ConnectionError) and (request.transport is None or request.transport.is_closing()):
            raise
        return _refused(request, error)


def _places(request: web.Request, operation: Operation) -> Admission | None:
    """None for what is always answered, and for downloads and streams: they last as long as their caller likes."""
    if operation.writes:
        return request.app[WRITES]
    return request.app[READS] if operation.reads and not isinstance(operation.answers, Media) else None


async def _let_in(request: web.Request, operation: Operation) -> None:
    """Counts the caller, by his address if he has no valid token, and only then tells him that he needs one."""
    limits = request.app[RATE_LIMITS]
    if operation.bucket is Bucket.NONE or request.method == hdrs.METH_OPTIONS:
        limits = None
    if operation.public and limits is None:
        return
    claims: Claims | None = None
    refused: DomainError | None = None
    try:
        claims = await authenticate(request)
        if not operation.public:
            request[CLAIMS] = claims
    except DomainError as error:
        refused = error
    if limits is not None:
        await limits.count_request(request, claims.user_id if claims else None)
    if refused is not None and not operation.public:
        raise refused


async def authenticate(request: web.Request) -> Claims:
    """Who calls, by his header, or by `?token=` of a stream, with which a browser may send a header of another scheme.

    Raises AuthenticationRequired, and what `verify_token` does.
    """
    authorization, in_query = request.headers.get(hdrs.AUTHORIZATION), request.query.get("token")
    if in_query and request[OPERATION].token_in_query and not is_bearer(authorization):
        return await verify_token(request.app, in_query)
    return await verify_token(request.app, bearer_token(authorization))


async def verify_token(app: web.Application, token: str) -> Claims:
    """What a token says, wherever it stood. Raises InvalidToken, TokenExpired or IssuerUnavailable."""
    return await app[TOKENS].verify(token, app[CLOCK].now())


def _refused(request: web.Request, error: Exception) -> web.Response:
    if isinstance(error, NewerEvent):
        request.app[HEALTH].too_old = True
    kind, claims = kind_of(error), request.get(CLAIMS)
    with log_context(user_id=claims.user_id if claims else None):
        if kind.status == 401:
            logger.warning("token refused", extra={"event_type": "auth_failed", "error": kind.error})
        elif kind.status == 429:
            count_refusal(request, request[OPERATION].endpoint)
        elif kind.status >= 500 and not isinstance(error, Overloaded):  # of those, thousands may come at once: counted
            _log_failure(kind, error)
    return error_response(error, request[CORRELATION_ID], request.app[CLOCK].now())


def _log_failure(kind: ErrorKind, error: Exception) -> None:
    """What passes by itself is told in a line; what should never happen, with its trace."""
    event_type = "database_error" if kind.code.startswith("ERR_5") else "request_failed"
    if kind.status == 503:
        logger.error("%s", kind.error, extra={"event_type": event_type, "error": f"{error!r} {error.__cause__!r}"})
    else:
        logger.error("%s", kind.error, exc_info=error, extra={"event_type": event_type})


async def tell_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Just before an answer begins, so that streams have them too."""
    tell_correlation_id(response.headers, request[CORRELATION_ID])
    tell_standing(request, response.headers)
    request.app[RESPONSE_HEADERS].tell(request, response, private=CLAIMS in request)
    if request.app[HEALTH].ending and not isinstance(response, web.WebSocketResponse):
        response.headers[hdrs.CONNECTION] = "close"
        response.force_close()
