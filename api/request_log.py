"""What is counted and logged of each request, once its last byte is handed over (contract metrics.md 1, 5).

aiohttp calls it for all that it answers, also for what is not HTTP. Probes are logged at DEBUG: they come every second.
Of a path the query string is left out: that of a stream may hold a token.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.web_request import BaseRequest

from api.keys import CLAIMS, CORRELATION_ID, FIRST_BYTE_AT, TRACE_ID
from api.operations import Bucket, Operation
from infra import metrics

OPERATION = web.RequestKey("OPERATION", Operation)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNCOUNTED = "/metrics"


def method_label(request: BaseRequest) -> str:
    return request.method if request.method in METHODS else "other"


@contextmanager
def in_progress(request: web.Request) -> Iterator[None]:
    """Counts it while it is being answered."""
    endpoint = request[OPERATION].endpoint
    if endpoint == UNCOUNTED:
        yield
        return
    labels = {"method": method_label(request), "endpoint": endpoint}
    metrics.HTTP_REQUESTS_IN_PROGRESS.inc(**labels)
    try:
        yield
    finally:
        metrics.HTTP_REQUESTS_IN_PROGRESS.dec(**labels)


class RequestLog(AbstractAccessLogger):
    """`time` is in seconds."""

    def log(self, request: BaseRequest, response: web.StreamResponse, time: float) -> None:
        operation = request.get(OPERATION)
        endpoint = operation.endpoint if operation else "unmatched"
        if endpoint != UNCOUNTED:
            labels = {"method": method_label(request), "endpoint": endpoint, "status_code": response.status}
            metrics.HTTP_REQUESTS_TOTAL.inc(**labels)
            metrics.HTTP_REQUEST_DURATION_SECONDS.observe(_until_first_byte(request, time), **labels)
        probe = operation is not None and operation.bucket is Bucket.NONE and FIRST_BYTE_AT not in request
        level = logging.DEBUG if probe else logging.INFO
        if self.logger.isEnabledFor(level):
            self._write(level, request, response, time)

    def _write(self, level: int, request: BaseRequest, response: web.StreamResponse, time: float) -> None:
        claims = request.get(CLAIMS)
        fields = {
            "event_type": "http_request",
            "correlation_id": request.get(CORRELATION_ID),
            "trace_id": request.get(TRACE_ID),
            "user_id": claims.user_id if claims else None,
            "method": request.method,
            "path": request.rel_url.raw_path,
            "status_code": response.status,
            "duration": round(time, 6),
        }
        self.logger.log(level, "%s %s", request.method, response.status, extra=fields)


def _until_first_byte(request: BaseRequest, time: float) -> float:
    """Of exports and streams; of all others `time`, which ends with the last byte (contract metrics.md 1)."""
    first = request.get(FIRST_BYTE_AT)
    return time if first is None else max(0.0, time - (asyncio.get_running_loop().time() - first))
