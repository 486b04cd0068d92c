"""A request as a span: where its trace begins, or goes on from that of its caller (contract config.md, Tracing).

Its name is the endpoint's, and of the address only the path is told: a query may hold a token. Probes, pages and
streams have none: the first would be most of all traces, and the last stay open for hours.
"""

from aiohttp import web

from api.keys import CORRELATION_ID
from api.operations import Bucket, Operation
from api.request_log import method_label
from infra import tracing
from infra.tracing import NO_SPAN, Kind, Span

TRACEPARENT = "traceparent"


def request_span(request: web.Request, operation: Operation) -> Span:
    if not tracing.is_on() or operation.bucket is Bucket.NONE:
        return NO_SPAN
    method = method_label(request)
    span = tracing.entry(f"{method} {operation.endpoint}", Kind.SERVER, request.headers.get(TRACEPARENT))
    if span.recording:
        span.set(
            {
                "http.request.method": method,
                "http.route": operation.endpoint,
                "url.path": request.rel_url.raw_path,
                "url.scheme": request.scheme,
                "app_manager.correlation_id": request[CORRELATION_ID],
            }
        )
    return span


def tell_status(span: Span, status: int) -> None:
    if not span.recording:
        return
    span.set({"http.response.status_code": status})
    if status >= 500:
        span.failed(str(status))
