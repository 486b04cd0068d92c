"""Seals the log: a signed checkpoint after each 1,000 events, or a second after the last one (`infra/seals.py`).

It follows the log behind the appends, so it costs them nothing but the reading, and is run by the relay that has the
lease. Killed before a checkpoint is synced, the next relay seals the same events again, with the same digest; killed
afterwards, it goes on behind it. The folder's lock decides between two that both believe to have the lease.

What cannot be written (a full disk, a key that is missing) stops the sealing alone: it is logged, it shows as the age
of the oldest event that is not sealed, and it is tried again. The relay goes on.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime

from consumers.backoff import Backoff
from consumers.together import until_first
from domain.errors import StoreError
from domain.ports import Clock
from infra import metrics
from infra.audit_keys import AuditKeyError, signing_key
from infra.checkpoints import CheckpointFolder, CheckpointsBroken
from infra.clock import SystemClock
from infra.event_log import EventStore
from infra.log_database import StoredAt
from infra.seals import Checkpoint, sealed
from infra.settings import Settings

logger = logging.getLogger(__name__)

EVENTS, SECONDS = 1_000, 1.0  # of a checkpoint, at most
WAIT_SECONDS = 5.0  # then the log is asked anyway
SHOW_SECONDS = 1.0


class Sealer:
    def __init__(self, event_store: EventStore, settings: Settings, clock: Clock) -> None:
        self._log, self._stored, self._clock = event_store.log, event_store.stored, clock
        self._folder = CheckpointFolder(settings.audit_checkpoint_dir)
        self._key_file = settings.audit_signing_key
        self._unsealed_since: datetime | None = None

    async def run(self) -> None:
        """For ever."""
        try:
            await until_first(self._seal_for_ever(), self._show_for_ever())
        finally:
            metrics.AUDIT_UNSEALED_SECONDS.set(0)

    @property
    def unsealed_seconds(self) -> float:
        """Since when the oldest event waits that was found and is not sealed."""
        since = self._unsealed_since
        return 0.0 if since is None else max((self._clock.now() - since).total_seconds(), 0.0)

    async def _show_for_ever(self) -> None:
        while True:
            metrics.AUDIT_UNSEALED_SECONDS.set(self.unsealed_seconds)
            await asyncio.sleep(SHOW_SECONDS)

    async def _seal_for_ever(self) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._follow(backoff)
            except (OSError, AuditKeyError, CheckpointsBroken, StoreError) as error:
                self._unsealed_since = self._unsealed_since or self._clock.now()
                extra = {"event_type": "audit_not_sealed", "error": str(error)}
                logger.warning("the log cannot be sealed", extra=extra)
                await asyncio.sleep(backoff.seconds())

    async def _follow(self, backoff: Backoff) -> None:
        loop = asyncio.get_running_loop()
        last = await asyncio.to_thread(self._folder.last)
        position = last.position if last else 0
        await self._look_for_cut_off(position)
        while True:
            began = loop.time()
            found = await self._stored.read(position, EVENTS)
            if not found:
                self._unsealed_since = None
                await self._log.wait(position, WAIT_SECONDS)
                continue
            self._unsealed_since = self._unsealed_since or self._clock.now()
            position = await asyncio.to_thread(self._seal, position, found)
            backoff.reset()
            if len(found) < EVENTS:
                self._unsealed_since = None
                await asyncio.sleep(began + SECONDS - loop.time())

    async def _look_for_cut_off(self, sealed_to: int) -> None:
        head = await self._log.head()
        if head < sealed_to:
            extra = {"event_type": "audit_log_cut_off", "error": f"{head} is the newest, {sealed_to} was sealed"}
            logger.error("the log ends before what was sealed of it", extra=extra)

    def _seal(self, position: int, events: Sequence[StoredAt]) -> int:
        """In a thread. The position that is sealed then: another's, if the folder has moved on without us."""
        at, key = self._clock.now(), signing_key(self._key_file)
        reached = position

        def make(last: Checkpoint | None) -> Checkpoint | None:
            nonlocal reached
            stands = last.position if last else 0
            made = sealed(last, events, key, at) if stands == position else None
            reached = made.position if made else stands
            return made

        self._folder.append(make)
        return reached


async def run_sealer(event_store: EventStore, settings: Settings) -> None:
    """For ever, through all that keeps it from writing."""
    await Sealer(event_store, settings, SystemClock()).run()
