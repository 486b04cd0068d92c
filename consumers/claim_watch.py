"""Waits for claims that others hold: one question to the database for all of them (contract messaging.md 3)."""

import asyncio
import logging
from types import TracebackType
from typing import Self

from consumers.together import cancel
from domain.errors import StoreError
from domain.ports import Claims

logger = logging.getLogger(__name__)

LOOKS = 5  # in the life of a claim


class ClaimWatch:
    """Used as an async context manager; asks only while somebody waits."""

    def __init__(self, claims: Claims, claim_seconds: float) -> None:
        self._claims, self._pause = claims, claim_seconds / LOOKS
        self._waiting: dict[str, asyncio.Event] = {}
        self._some = asyncio.Event()
        self._asker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._asker = asyncio.create_task(self._ask(), name="claim-watch")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._asker is not None:
            await cancel([self._asker])

    async def until_free(self, name: str) -> None:
        """Returns after a while when nobody holds it any more: it was released, or has run out."""
        free = self._waiting.setdefault(name, asyncio.Event())
        self._some.set()
        await free.wait()

    async def _ask(self) -> None:
        while True:
            await self._some.wait()
            await asyncio.sleep(self._pause)
            names = list(self._waiting)
            try:
                held = await self._claims.held(names)
            except StoreError as error:
                extra = {"event_type": "event_store_away", "error": str(error)}
                logger.warning("claims of others cannot be seen", extra=extra)
                continue
            for name in names:
                if name not in held:
                    self._waiting.pop(name).set()
            if not self._waiting:
                self._some.clear()
