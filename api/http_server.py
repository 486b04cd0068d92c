"""aiohttp's server, with answers of ours to what it refuses before any application sees it (contract http.md 1.7).

And with an end that cuts no answer off, nor a request that is just being sent (`HttpServer.finish`).
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_request import BaseRequest

from api.correlation import correlation_id_of, tell_correlation_id
from api.errors import RequestError, error_response
from api.request_log import RequestLog
from infra.clock import SystemClock

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75.0
LINGERING_SECONDS = 5.0  # reads on after an early refusal, so that its sender gets to see it
LAST_REQUEST_SECONDS = 2.0
LOOK_SECONDS = 0.02
LINE_MAX_BYTES = 64 * 1024  # of the request line, and of one header


class Connection(web.RequestHandler):
    """One connection."""

    _tell_loss: Callable[[], None] | None = None

    @property
    def quiet_since(self) -> float | None:
        """When its last answer was sent, by the loop's clock; None while something is asked or answered on it."""
        unsent = self.transport is not None and self.transport.get_write_buffer_size()
        if self._waiter is None or self._messages or unsent:
            return None
        return self._next_keepalive_close_time - self.keepalive_timeout

    @contextmanager
    def telling_loss(self, tell: Callable[[], None]) -> Iterator[None]:
        """Calls it when the connection is lost meanwhile: who only writes would not know before he writes again."""
        self._tell_loss = tell
        try:
            yield
        finally:
            self._tell_loss = None

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._tell_loss is not None:
            self._tell_loss()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What cannot be read as HTTP; or what no handler of ours has caught, which is a fault."""
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            raise ConnectionError("Its caller has gone, or the answer has begun and can only be broken off")
        error: BaseException = exc or RuntimeError(message)
        if status < 500 or isinstance(exc, HttpProcessingError):
            error = RequestError("The request cannot be read as HTTP")
        else:
            logger.error("request failed", exc_info=exc, extra={"event_type": "request_failed"})
        correlation_id = correlation_id_of(request.headers)
        response = error_response(error, correlation_id, SystemClock().now())
        tell_correlation_id(response.headers, correlation_id)
        response.force_close()
        return response


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)


class HttpServer(web.AppRunner):
    """Runs an application. `shutdown_seconds` is what a connection gets once `cleanup` has begun."""

    def __init__(self, app: web.Application, shutdown_seconds: float) -> None:
        options: dict[str, Any] = {
            "access_log_class": RequestLog,
            "access_log": logging.getLogger("api.requests"),
            "keepalive_timeout": KEEP_ALIVE_SECONDS,
            "lingering_time": LINGERING_SECONDS,
            "max_line_size": LINE_MAX_BYTES,
            "max_field_size": LINE_MAX_BYTES,
        }
        super().__init__(app, shutdown_timeout=shutdown_seconds, **options)

    async def finish(self, seconds: float) -> None:
        """Lets callers have their last answers, for that long at most.

        Who keeps his connection is waited for until he has asked nothing for LAST_REQUEST_SECONDS, and is answered
        once more (`api/door.py` tells him there that it ends): to close it sooner would meet the request that he is
        just sending, and he could not tell whether that was done.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() < began + seconds and not self._all_are_quiet(began, loop.time()):
            await asyncio.sleep(LOOK_SECONDS)

    def _all_are_quiet(self, began: float, now: float) -> bool:
        connections = [] if self.server is None else self.server.connections
        quiet = (one.quiet_since for one in connections if isinstance(one, Connection))
        return all(since is not None and now - max(since, began) >= LAST_REQUEST_SECONDS for since in quiet)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            loop=asyncio.get_running_loop(),
            **made._kwargs,
        )
