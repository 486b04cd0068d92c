"""Rate limits: what a caller may do, what he is told of it, and what he is refused (contract http.md 1.4).

The requests bucket is taken from before anything else is done, so that who is refused costs no more than that. The
applications bucket is taken from last, when all has been checked and an application is about to be created; if it is
not created after all, its place is given back, and when there was none, so is the request's own: a refused request
consumes nothing. A place stays taken when nobody knows: a process was killed, or the outcome of the append is unknown.

While the store of the counts is away, requests go on uncounted, and say nothing of limits that nobody keeps.
"""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from math import ceil

from aiohttp import hdrs, web
from limits import (
    RateLimitItem,
    RateLimitItemPerDay,
    RateLimitItemPerHour,
    RateLimitItemPerMinute,
    RateLimitItemPerSecond,
)
from limits.aio.strategies import MovingWindowRateLimiter
from multidict import CIMultiDict

from api.client_address import FORWARDED_FOR, ClientAddresses
from api.errors import TooManyRequests
from api.keys import CLAIMS
from domain.errors import DomainError, OutcomeUnknown, StoreError
from domain.ports import Clock
from infra import metrics
from infra.rate_storage import RateLimitStorage
from infra.setting_types import Rate
from infra.settings import Settings

logger = logging.getLogger(__name__)

LIMIT_HEADER, REMAINING_HEADER, RESET_HEADER = "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"
PERIODS: dict[int, type[RateLimitItem]] = {
    1: RateLimitItemPerSecond,
    60: RateLimitItemPerMinute,
    3600: RateLimitItemPerHour,
    86400: RateLimitItemPerDay,
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose bucket is taken from: a user's, or an address's of those without a valid token."""

    kind: str
    id: str

    @property
    def user_type(self) -> str:
        """As metrics name it."""
        return "authenticated" if self.kind == "user" else "anonymous"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a caller stands in one bucket, after this request. `reset`: when its oldest hit leaves, in Unix seconds."""

    limit: int
    remaining: int
    reset: float

    @property
    def headers(self) -> Mapping[str, str]:
        told = {LIMIT_HEADER: self.limit, REMAINING_HEADER: self.remaining, RESET_HEADER: ceil(self.reset)}
        return {name: str(value) for name, value in told.items()}


CALLER = web.RequestKey("CALLER", Caller)
STANDING = web.RequestKey("STANDING", Standing)
UNCOUNTED = web.RequestKey("UNCOUNTED", bool)
COUNTED_SINCE = web.RequestKey("COUNTED_SINCE", datetime)  # while the request holds a place in the requests bucket


class RateLimits:
    """The buckets of all callers."""

    def __init__(self, settings: Settings, storage: RateLimitStorage, clock: Clock) -> None:
        self._requests = _item("requests", settings.rate_limit_requests)
        self._applications = _item("applications", settings.rate_limit_applications)
        self._addresses = ClientAddresses(settings.trusted_proxies)
        self._storage, self._clock = storage, clock
        self._limiter = MovingWindowRateLimiter(storage)

    async def close(self) -> None:
        await self._storage.close()

    async def count_request(self, request: web.Request, user_id: str | None) -> None:
        """Takes one from the requests bucket of the user, or of the address. Raises TooManyRequests."""
        if user_id is None:
            address = self._addresses.of(request.remote, request.headers.getall(FORWARDED_FOR, ()))
            request[CALLER] = caller = Caller("address", address)
        else:
            request[CALLER] = caller = Caller("user", user_id)
        since = self._clock.now()
        standing = await self._take(request, self._requests, caller, 1)
        if standing is not None:
            request[STANDING], request[COUNTED_SINCE] = standing, since

    @asynccontextmanager
    async def applications(self, request: web.Request, count: int) -> AsyncIterator[None]:
        """Takes so many from the applications bucket, all or none. Raises TooManyRequests.

        They are given back when what is done inside fails and has surely created nothing.
        """
        caller, since = request[CALLER], self._clock.now()
        try:
            taken = await self._take(request, self._applications, caller, count)
        except TooManyRequests:
            await self._uncount(request)
            raise
        try:
            yield
        except OutcomeUnknown:
            raise
        except DomainError:
            if taken is not None:
                await self._give_back(self._applications, caller, count, since)
            raise

    async def _uncount(self, request: web.Request) -> None:
        """A refused request consumes nothing, in the requests bucket either."""
        since = request.pop(COUNTED_SINCE, None)
        if since is not None:
            await self._give_back(self._requests, request[CALLER], 1, since)

    async def _take(self, request: web.Request, item: RateLimitItem, caller: Caller, count: int) -> Standing | None:
        """None while the store is away: then nothing was taken for sure, and the request goes on."""
        try:
            fits = await self._limiter.hit(item, caller.kind, caller.id, cost=count)
            window = await self._limiter.get_window_stats(item, caller.kind, caller.id)
        except StoreError:
            if UNCOUNTED not in request:
                request[UNCOUNTED] = True
                metrics.RATE_LIMIT_STORE_ERRORS_TOTAL.inc()
            return None
        standing = Standing(item.amount, max(0, window.remaining), window.reset_time)
        if fits:
            return standing
        seconds = max(1, ceil(window.reset_time - self._clock.now().timestamp()))
        text = f"Too many {item.namespace}: {item.amount} per {item.GRANULARITY.name} at most"
        raise TooManyRequests(text, headers={hdrs.RETRY_AFTER: str(seconds), **standing.headers})

    async def _give_back(self, item: RateLimitItem, caller: Caller, count: int, since: datetime) -> None:
        key = item.key_for(caller.kind, caller.id)
        try:
            await self._storage.give_back(key, item.amount, item.get_expiry(), count, since)
        except StoreError:  # a place is lost until the window has passed; the error that is told matters more
            extra = {"event_type": "rate_limit_not_given_back", "bucket": item.namespace}
            logger.warning("places of a rate limit not given back", extra=extra)


RATE_LIMITS: web.AppKey[RateLimits | None] = web.AppKey("RATE_LIMITS")  # None: there are none


def applications_counted(request: web.Request, count: int) -> AbstractAsyncContextManager[None]:
    """Around what creates so many applications: see `RateLimits.applications`."""
    limits = request.app[RATE_LIMITS]
    return nullcontext() if limits is None else limits.applications(request, count)


def tell_standing(request: web.Request, headers: CIMultiDict[str]) -> None:
    """Where the caller stands in the requests bucket, unless the answer tells of another."""
    standing = request.get(STANDING)
    if standing is not None and LIMIT_HEADER not in headers:
        headers.update(standing.headers)


def count_refusal(request: web.Request, endpoint: str) -> None:
    """Every 429, whoever sends it."""
    caller = request.get(CALLER)
    user_type = caller.user_type if caller else "authenticated" if CLAIMS in request else "anonymous"
    metrics.RATE_LIMIT_EXCEEDED_TOTAL.inc(endpoint=endpoint, user_type=user_type)
    logger.warning("too many requests", extra={"event_type": "rate_limit_exceeded", "path": request.rel_url.raw_path})


def _item(bucket: str, rate: Rate) -> RateLimitItem:
    return PERIODS[rate.seconds](rate.limit, namespace=bucket)
