"""Keeps the claims of this process, and tells in time when one is lost (design 7).

A claim is a lease beside the log. Whoever holds it renews it when a third of `CLAIM_SECONDS` is over, all such claims
of a process in one statement; work that ends before costs no renewal. The database is the authority, but it may be slow
or away, and then others may take over when the lease has run out. So each claim also has an end by our own clock,
counted from before it was taken or last renewed: always earlier than the end that the database counts. What comes first
ends the work: the answer that it is no longer ours, or that instant. The work is then cancelled, and renews and frees
nothing.

Killed at any line: the claims run out, `CLAIM_SECONDS` after their last renewal.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from consumers.together import cancel
from domain.errors import StoreError
from domain.ports import Claim, Claims

logger = logging.getLogger(__name__)

RENEWED_AFTER = 1 / 3  # of the life of a claim
LOOKS = 6  # in the life of a claim
DOUBT_SECONDS = 0.25  # a claim that is gone may have been given back by an append whose answer is on its way


class ClaimLost(Exception):
    """Another may work on it now."""


@dataclass(slots=True, eq=False)
class _Kept:
    """One claim under work. `lose` is called at the end by our own clock, unless a renewal comes before."""

    since: float  # taken or renewed after this, by the loop's clock
    lose: Callable[[], None]
    timer: asyncio.TimerHandle
    lost: bool = False


class ClaimKeeper:
    """The claims of one holder. Used as an async context manager; it renews while it is open."""

    def __init__(self, claims: Claims, holder: str, seconds: float) -> None:
        self.holder = holder
        self._claims, self._seconds = claims, seconds
        self._kept: dict[str, _Kept] = {}
        self._overdue = asyncio.Event()
        self._renewer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._renewer = asyncio.create_task(self._renew_all(), name="claim-renewer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._renewer is not None:
            await cancel([self._renewer])

    def claim(self, name: str) -> Claim:
        return Claim(name, self.holder, self._seconds)

    @asynccontextmanager
    async def keep(self, name: str, since: float) -> AsyncIterator[None]:
        """Renews a claim that was taken after `since` (seconds of the loop's clock), while the body runs.

        When it is lost, the body is cancelled, and ClaimLost raised. It does not give the claim back.
        """
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        cancels = task.cancelling()

        def lose() -> None:
            if not kept.lost:
                kept.lost = True
                task.cancel()

        kept = _Kept(since, lose, self._loop.call_at(since + self._seconds, lose))
        assert name not in self._kept, "a process works once on what it has claimed"
        self._kept[name] = kept
        if self._is_old(kept):
            self._overdue.set()
        try:
            yield
        except asyncio.CancelledError:
            if kept.lost and task.uncancel() <= cancels:
                raise ClaimLost(name) from None
            raise
        finally:
            kept.timer.cancel()
            del self._kept[name]

    # -- renewing -----------------------------------------------------------------------------------------------------

    def _is_old(self, kept: _Kept) -> bool:
        return self._loop.time() - kept.since >= self._seconds * RENEWED_AFTER

    async def _renew_all(self) -> None:
        while True:
            self._overdue.clear()
            old = {name: kept for name, kept in self._kept.items() if self._is_old(kept)}
            if old and (gone := await self._renew(old)):
                self._loop.call_later(DOUBT_SECONDS, self._lose, gone)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds / LOOKS):
                    await self._overdue.wait()

    async def _renew(self, old: Mapping[str, _Kept]) -> Mapping[str, _Kept]:
        """Those that are no longer ours; none when the database does not answer: our own clock ends them then."""
        before = self._loop.time()
        try:
            held = await self._claims.renew(self.holder, list(old), self._seconds)
        except StoreError as error:
            extra = {"event_type": "claims_not_renewed", "claims": len(old), "error": str(error)}
            logger.warning("claims could not be renewed", extra=extra)
            return {}
        for name in held:
            kept = old[name]
            if not kept.lost and self._kept.get(name) is kept:
                kept.since = before
                kept.timer.cancel()
                kept.timer = self._loop.call_at(before + self._seconds, kept.lose)
        return {name: kept for name, kept in old.items() if name not in held}

    def _lose(self, gone: Mapping[str, _Kept]) -> None:
        for name, kept in gone.items():
            if self._kept.get(name) is kept:
                kept.lose()
