"""The storage of rate limits: the moving window of the library `limits` over MongoDB, for all API processes together.

The library's own storage for MongoDB costs a hit two round trips, and writes all hits of its window anew each time
(1,100 to 2,200 hits a second). Here the hits that wait at the same moment share one bulk of updates and one look at
what their windows hold afterwards, whoever makes them.

A window's document is the authority: no caller is told that he was counted before the document says so, so a limit
holds however many processes hit at once. Who finds no room tries again by what the window was seen to hold, without
what has left; only who does not fit into a window that was just read is refused, and a refused one counts nothing. Who
hits a window that was full a moment ago (FRESH_SECONDS) is refused without a question: hits leave only with time.

While MongoDB is away nobody waits. A flush that takes longer than ANSWER_SECONDS fails, with all who wait behind it;
then every hit fails at once, and one in PAUSE_SECONDS is sent on without its caller, until one gets through.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime

from limits.aio.storage import MovingWindowSupport, Storage

from domain.errors import StoreError, StoreTimeout, StoreUnavailable
from domain.ports import Clock
from infra.mongo import Mongo
from infra.rate_counts import RateCounts
from infra.rate_documents import RateDocuments
from infra.rate_windows import Size

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 0.5
PAUSE_SECONDS = 1.0
WINDOWS_AT_ONCE = 500  # of one flush


@dataclass(frozen=True, slots=True, eq=False)
class Hit:
    """`amount` hits at once that wait to be counted."""

    amount: int
    size: Size
    counted: asyncio.Future[bool]

    def tell(self, counted: bool) -> None:
        if not self.counted.done():  # its caller may have gone
            self.counted.set_result(counted)

    def fail(self, error: BaseException) -> None:
        if not self.counted.done():
            self.counted.set_exception(error)
            self.counted.exception()  # nobody else may look at it


Waiting = dict[str, list[Hit]]  # by the key of their window; those of a window have the same size


class RateLimitStorage(Storage, MovingWindowSupport):
    """Whatever asks the database may raise StoreUnavailable, StoreTimeout or StoreFailed."""

    STORAGE_SCHEME = None

    def __init__(self, mongo: Mongo, clock: Clock) -> None:
        super().__init__()
        self._mongo = mongo
        self._documents = RateDocuments(mongo, ANSWER_SECONDS)
        self._counts = RateCounts(self._documents, clock)
        self._waiting: Waiting = {}
        self._flushing: asyncio.Task[None] | None = None
        self._away = False
        self._ask_again_at = 0.0

    async def close(self) -> None:
        """What is still under way fails."""
        if self._flushing is not None:
            self._flushing.cancel()
            with suppress(asyncio.CancelledError):
                await self._flushing
        self._fail({}, asyncio.CancelledError())  # it may not have begun
        self._documents.close()

    # -- the moving window of `limits` --------------------------------------------------------------------------------

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Counts `amount` hits, or none of them if they do not fit."""
        size, loop = Size.of(limit, expiry), asyncio.get_running_loop()
        window = self._counts.fresh(key, self._counts.now())
        if window and window.hits >= limit:
            return False
        if amount > limit:
            self._counts.drop(key)  # so that its caller is told how it stands now
            return False
        hit = Hit(amount, size, loop.create_future())
        if self._away:
            if loop.time() >= self._ask_again_at:
                self._ask_again_at = loop.time() + PAUSE_SECONDS
                self._enqueue(key, hit)
            raise StoreUnavailable("The store of the rate limits is away")
        self._enqueue(key, hit)
        return await hit.counted

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """The second at which the oldest hit was made, and how many count; after a hit, without another question.

        Where none counts, the window begins a whole period ago.
        """
        size = Size.of(limit, expiry)
        window = await self._counts.window(key, size)
        leaves = window.next_leaves() if window else None
        if window is None or leaves is None:
            return self._counts.now() / 1000 - expiry, 0
        return (leaves - size.window) / 1000, window.hits

    async def give_back(self, key: str, limit: int, expiry: int, amount: int, since: datetime) -> None:
        """Hits that were counted for nothing, by a call that began at `since`: what the library has no word for."""
        await self._counts.give_back(key, Size.of(limit, expiry), amount, round(since.timestamp() * 1000))

    # -- what else the library wants of a storage ---------------------------------------------------------------------

    @property
    def base_exceptions(self) -> type[Exception]:
        return StoreError

    async def check(self) -> bool:
        try:
            await self._mongo.ping()
        except StoreError:
            return False
        return True

    async def reset(self) -> int | None:
        return await self._counts.forget()

    async def clear(self, key: str) -> None:
        await self._counts.forget(key)

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        raise NotImplementedError("fixed windows are not kept here")

    async def get(self, key: str) -> int:
        raise NotImplementedError("fixed windows are not kept here")

    async def get_expiry(self, key: str) -> float:
        raise NotImplementedError("fixed windows are not kept here")

    # -- gathering ----------------------------------------------------------------------------------------------------

    def _enqueue(self, key: str, hit: Hit) -> None:
        self._waiting.setdefault(key, []).append(hit)
        if self._flushing is None:  # not in the caller's context: it is nobody's request
            self._flushing = asyncio.create_task(self._flush_all(), name="rate-limits", context=Context())

    async def _flush_all(self) -> None:
        hits: Waiting = {}
        try:
            while self._waiting:
                hits = {key: self._waiting.pop(key) for key in list(self._waiting)[:WINDOWS_AT_ONCE]}
                try:
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await self._flush(hits)
                    self._is_back()
                except TimeoutError:
                    self._is_away(StoreTimeout("The store of the rate limits did not answer in time"), hits)
                except StoreError as error:
                    self._is_away(error, hits)
        except BaseException as error:
            self._fail(hits, error)
            raise
        finally:
            self._flushing = None

    async def _flush(self, hits: Waiting) -> None:
        """Counts or refuses each. Another round is for windows that others fill just now, or that were not known."""
        read: Collection[str] = ()
        while hits:
            admitted = self._admit(hits, read)
            amounts = {key: sum(hit.amount for hit in fitting) for key, fitting in admitted.items()}
            full = await self._counts.hit(amounts, {key: waiting[0].size for key, waiting in hits.items()})
            read = set(hits)
            for key in admitted.keys() - full:
                for hit in admitted[key]:
                    hit.tell(True)
            _drop_answered(hits)

    def _admit(self, hits: Waiting, read: Collection[str]) -> Waiting:
        """Those who fit, by what is known. Refuses those who do not fit into a window that was just `read`."""
        now, admitted = self._counts.now(), Waiting()
        for key, waiting in hits.items():
            window = self._counts.known(key, now)
            fitting, others = _divided(waiting, window.hits if window else 0)
            if fitting:
                admitted[key] = fitting
            if window and key in read:
                for hit in others:
                    hit.tell(False)
        _drop_answered(hits)
        return admitted

    # -- while the database is away -----------------------------------------------------------------------------------

    def _is_away(self, error: StoreError, hits: Waiting) -> None:
        if not self._away:
            told = {"event_type": "rate_limit_store_away", "error": repr(error)}
            logger.warning("rate limits are not kept", extra=told)
        self._away, self._ask_again_at = True, asyncio.get_running_loop().time() + PAUSE_SECONDS
        self._fail(hits, error)

    def _is_back(self) -> None:
        if self._away:
            logger.warning("rate limits are kept again", extra={"event_type": "rate_limit_store_back"})
        self._away = False

    def _fail(self, hits: Waiting, error: BaseException) -> None:
        """These, and those who wait behind them: they would wait as long for nothing."""
        for waiting in (*hits.values(), *self._waiting.values()):
            for hit in waiting:
                hit.fail(error)
        self._waiting = {}


def _drop_answered(hits: Waiting) -> None:
    """Also those whose callers have gone."""
    for key in list(hits):
        hits[key] = [hit for hit in hits[key] if not hit.counted.done()]
        if not hits[key]:
            del hits[key]


def _divided(waiting: Sequence[Hit], counted: int) -> tuple[list[Hit], list[Hit]]:
    """Those who fit beside what is counted, in the order in which they came, and the others."""
    fitting, others = list[Hit](), list[Hit]()
    for hit in waiting:
        if counted + hit.amount <= hit.size.most:
            counted += hit.amount
            fitting.append(hit)
        else:
            others.append(hit)
    return fitting, others
