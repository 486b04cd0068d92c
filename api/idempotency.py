"""Idempotency keys: the same POST, sent again, gets the answer of its first use (contract http.md 1.5).

The log is authoritative: a key is used by the append that it guards (`domain/appending.py`), or, where a call is no
single append, by one at its end. Duplicates in one process wait for one another here, so that they load nothing and
count against no limit for nothing; those of other processes meet in the log, where one wins and the others read again
and answer as it did. One that a rate limit or an application's status refuses looks again: its like in another process
may have taken the last place, or brought the application there. Killed before the append, the key is free, and the
request runs normally.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import orjson
from aiohttp import hdrs, web
from pydantic import BaseModel

from api.errors import Problem, TooManyRequests, ValidationFailed
from api.form_fields import Pdf
from api.keys import CLAIMS, CLOCK, EVENT_LOG, SETTINGS
from api.positions import POSITION_HEADER
from domain.appending import Guard
from domain.errors import ApplicationAlreadyProcessed, ApplicationState, DuplicateRequest
from domain.idempotency import IdempotencyKey, key_stream

KEY_HEADER, REPLAYED_HEADER = "X-Idempotency-Key", "X-Idempotency-Replayed"
KEY = re.compile(r"[\x21-\x7e]{1,255}")
WAIT_SECONDS = 20.0  # for the same request that came first to this process
TRIES = 3
LAST_PLACE_SECONDS = 0.1  # for who took it to get his append done
LARGE_BYTES = 256 * 1024  # to hash more would hold up the event loop

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class KeyInUse:
    """The key of a request that is answered for the first time."""

    key: IdempotencyKey
    content_hash: str


KEY_IN_USE = web.RequestKey("KEY_IN_USE", KeyInUse)


def guard_of(request: web.Request, view_of: Callable[[R], BaseModel]) -> Guard[R] | None:
    """What uses the request's key with the command's append; None for a request without one.

    `view_of` gives the view that the handler answers with.
    """
    in_use = request.get(KEY_IN_USE)
    if in_use is None:
        return None
    return Guard(in_use.key, in_use.content_hash, lambda result: view_of(result).model_dump_json())


class Duplicates:
    """The keys that are in use in this process."""

    def __init__(self) -> None:
        self._locks: dict[UUID, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def one_at_a_time(self, stream: UUID) -> AsyncIterator[None]:
        """Raises DuplicateRequest when the one before does not end in time."""
        lock, users = self._locks.get(stream, (asyncio.Lock(), 0))
        self._locks[stream] = lock, users + 1
        try:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await lock.acquire()
            except TimeoutError:
                raise DuplicateRequest from None
            try:
                yield
            finally:
                lock.release()
        finally:
            lock, users = self._locks.pop(stream)
            if users > 1:
                self._locks[stream] = lock, users - 1


DUPLICATES = web.AppKey("DUPLICATES", Duplicates)


async def answered_once(
    request: web.Request,
    content: BaseModel | None,
    answer: Callable[[], Awaitable[web.StreamResponse]],
    replayed: Callable[[], None],
) -> web.StreamResponse:
    """What `answer` gives, or the stored answer of the key's first use; without a key, `answer`'s.

    `content` is what was asked: the parsed form or query. `replayed` is called for a stored answer. Raises
    ValidationFailed for a bad key, IdempotencyKeyReused, and DuplicateRequest while the first use goes on elsewhere.
    """
    sent = request.headers.get(KEY_HEADER)
    if sent is None:
        return await answer()
    if not KEY.fullmatch(sent):
        problem = Problem("should be 1 to 255 visible characters of ASCII", KEY_HEADER)
        raise ValidationFailed(f"{KEY_HEADER} {problem.message}", [problem])
    stream = key_stream(request[CLAIMS].user_id, request.method, request.path, sent)
    content_hash = await _hash_of(content)
    async with request.app[DUPLICATES].one_at_a_time(stream):
        for attempt in range(TRIES):
            key = IdempotencyKey.fold(stream, await request.app[EVENT_LOG].read_stream(stream))
            now = request.app[CLOCK].now()
            used = key.replay(content_hash, now, request.app[SETTINGS].idempotency_ttl_seconds)
            if used is not None:
                replayed()
                headers = {REPLAYED_HEADER: "true", POSITION_HEADER: str(key.position)}
                headers[hdrs.CONTENT_TYPE] = "application/json"
                return web.Response(body=used.body.encode(), status=used.status, headers=headers)
            request[KEY_IN_USE] = KeyInUse(key, content_hash)
            try:
                return await answer()
            except DuplicateRequest:
                continue
            except (ApplicationState, ApplicationAlreadyProcessed):  # perhaps by what this very request did elsewhere
                if len(await request.app[EVENT_LOG].read_stream(stream)) == key.version:
                    raise
            except TooManyRequests:
                if attempt:
                    raise
                await asyncio.sleep(LAST_PLACE_SECONDS)
    raise DuplicateRequest


async def _hash_of(content: BaseModel | None) -> str:
    """SHA-256 of the values, and of a file its own SHA-256: another boundary or order is the same content."""
    fields: Mapping[str, object] = {} if content is None else dict(content)
    large = sum(len(_bytes(value)) for value in fields.values()) > LARGE_BYTES
    return await asyncio.to_thread(_hash, fields) if large else _hash(fields)


def _hash(fields: Mapping[str, object]) -> str:
    told = {name: hashlib.sha256(_bytes(value)).hexdigest() for name, value in fields.items() if value is not None}
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _bytes(value: object) -> bytes:
    if isinstance(value, Pdf):
        return value.content
    return value if isinstance(value, bytes) else str(value).encode()
