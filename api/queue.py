"""/queue: how full the queues are, and dead letters removed or tried again (contract http.md 9, messaging.md 4)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field

from api.admin import check_queue_admin
from api.errors import QueueFailed, QueueUnavailable, ValidationFailed
from api.idempotency import KEY_IN_USE, guard_of
from api.keys import BROKER, CLAIMS, CLOCK, COMMANDS, CORRELATION_ID, EVENT_LOG, LEASES, PUBLISH_RATES, SETTINGS
from api.operations import Answer, Operations
from api.parameters import Integer, Query
from domain.appending import Appender
from domain.errors import DuplicateRequest, IdempotencyKeyReused, InsufficientPermissions
from domain.event import Cause
from domain.ports import Claim
from infra import tracing
from infra.dead_letters import Letter, Taker, purge, taking
from infra.rabbitmq import BrokerError, BrokerRefused, find_queue

operations = Operations("Queues")

REPROCESS_SECONDS = 60.0  # a call that takes longer ends with what it has done; call again for the rest
KEY_SECONDS = REPROCESS_SECONDS + 30.0  # for the append under way at that moment, too


class QueueView(BaseModel):
    """`messages` are those that are ready; `rate` is messages a second over the last minute, null if unknown."""

    name: str
    messages: int
    consumers: int
    rate: float | None


class DeadLettersView(BaseModel):
    """Where dead letters wait."""

    name: str
    messages: int
    consumers: int


class QueuesView(BaseModel):
    """The queues of work and of notifications, and the dead letters."""

    queues: list[QueueView]
    dlq: DeadLettersView


class PurgedView(BaseModel):
    """How many dead letters were removed."""

    purged: int
    queue: str


class ReprocessQuery(Query):
    """All that are there when the call begins, unless `limit` says fewer."""

    limit: Annotated[Integer, Field(ge=1, description="At most so many letters")] | None = None


class ReprocessedView(BaseModel):
    """`moved`: applications that are tried again; `skipped`: letters that led to nothing."""

    moved: int
    skipped: int


BROKER_ERRORS = (QueueFailed, QueueUnavailable)


@operations.get("/queue/status", answers=QueuesView, errors=BROKER_ERRORS)
async def get_queues(request: web.Request) -> Answer[QueuesView]:
    """How many messages wait in each queue."""
    settings, rates = request.app[SETTINGS], request.app[PUBLISH_RATES]
    queues = [
        QueueView(name=name, messages=messages, consumers=consumers, rate=rates.of(name))
        for name in (settings.application_processing_queue, settings.middleware_queue)
        for messages, consumers in [await _state(request, name)]
    ]
    messages, consumers = await _state(request, settings.application_dlq)
    dlq = DeadLettersView(name=settings.application_dlq, messages=messages, consumers=consumers)
    return Answer(QueuesView(queues=queues, dlq=dlq))


@operations.delete(
    "/queue/dlq",
    answers=PurgedView,
    errors=(InsufficientPermissions, *BROKER_ERRORS),
    admits=check_queue_admin,
)
async def purge_dead_letters(request: web.Request) -> Answer[PurgedView]:
    """Removes all dead letters. Their applications stay failed."""
    name = request.app[SETTINGS].application_dlq
    with _queue_errors():
        purged = await purge(request.app[BROKER].connection, name)
    return Answer(PurgedView(purged=purged, queue=name))


@operations.post(
    "/queue/dlq/reprocess",
    answers=ReprocessedView,
    query=ReprocessQuery,
    errors=(InsufficientPermissions, *BROKER_ERRORS, ValidationFailed, IdempotencyKeyReused, DuplicateRequest),
    writes=True,
    admits=check_queue_admin,
)
async def reprocess_dead_letters(request: web.Request, query: ReprocessQuery) -> Answer[ReprocessedView]:
    """Tries the applications of the dead letters again that have failed by what the letter tells, and removes it.

    No letter that comes meanwhile. Ends after a minute with what has been done until then; whatever ends it, no letter
    is lost and no application tried twice.
    """
    async with _one_call_for_the_key(request):
        view, position = await _reprocess(request, query.limit)
        guard = guard_of(request, lambda told: told)
        if guard is not None:
            appender = Appender(request.app[EVENT_LOG], request.app[CLOCK])
            position = await appender.use_alone(view, guard, _cause(request, None))
    return Answer(view, position)


async def _reprocess(request: web.Request, limit: int | None) -> tuple[ReprocessedView, int]:
    """What was done, and the position of the last retry; the log's head if there was none."""
    name = request.app[SETTINGS].application_dlq
    there, _ = await _state(request, name)
    moved = skipped = position = 0
    ends_at = asyncio.get_running_loop().time() + REPROCESS_SECONDS
    with _queue_errors():
        async with taking(request.app[BROKER].connection, name) as taker:
            for _ in range(there if limit is None else min(limit, there)):
                letter = await taker.take()
                if letter is None or asyncio.get_running_loop().time() > ends_at:
                    break
                retried = await _try_again(request, taker, letter)
                moved, skipped = moved + (retried is not None), skipped + (retried is None)
                position = retried or position
    return ReprocessedView(moved=moved, skipped=skipped), position or await request.app[EVENT_LOG].head()


async def _try_again(request: web.Request, taker: Taker, letter: Letter) -> int | None:
    """The position of the retry, None if the letter leads to none.

    The letter goes after the append. Killed between the two, it comes again, and the failure it tells of is over.
    """
    if not letter.readable:
        return None
    retried = None
    if letter.failure is not None:
        retried = await request.app[COMMANDS].retry_failure(*letter.failure, _cause(request, letter.message_id))
    await taker.remove(letter)
    return retried.position if retried else None


@asynccontextmanager
async def _one_call_for_the_key(request: web.Request) -> AsyncIterator[None]:
    """As the key is used at the end only, a lease keeps the same call of another process out until then.

    Raises DuplicateRequest.
    """
    in_use, leases = request.get(KEY_IN_USE), request.app[LEASES]
    if in_use is None:
        yield
        return
    claim = Claim(f"key:{in_use.key.id.hex}", request.app[CLOCK].new_id(request.app[CLOCK].now()).hex, KEY_SECONDS)
    if not await leases.take(claim):
        raise DuplicateRequest
    try:
        yield
    finally:
        await leases.release(claim)


async def _state(request: web.Request, name: str) -> tuple[int, int]:
    """Messages and consumers; a queue that does not exist yet has none."""
    with _queue_errors():
        found = await find_queue(request.app[BROKER].connection, name)
    return (found.messages, found.consumers) if found else (0, 0)


def _cause(request: web.Request, message_id: str | None) -> Cause:
    return Cause(f"operator:{request[CLAIMS].user_id}", request[CORRELATION_ID], message_id, tracing.traceparent())


@contextmanager
def _queue_errors() -> Iterator[None]:
    try:
        yield
    except BrokerRefused as error:
        raise QueueFailed("RabbitMQ refused a command") from error
    except BrokerError as error:
        raise QueueUnavailable("RabbitMQ cannot be reached") from error
