"""What the relay has done since it wrote last, and the one who writes it beside the log.

Confirmations come by the thousand, and each write costs a commit that the API's appends wait for; so they gather for
SAVE_SECONDS. A write holds everything of one instant: the checkpoints, the messages that are due later and were passed
by them, the rows whose messages are published, and the totals. A crash before it repeats what it would have told.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from consumers.backoff import Backoff
from consumers.feed import Parcel
from domain.errors import StoreError
from infra.messages import Message, QueueKind, QueueNames
from infra.relay_store import Kept, Progress, RelayStore

logger = logging.getLogger(__name__)

SAVE_SECONDS = 0.1
IDLE_SAVE_SECONDS = 5.0  # for checkpoints that only passed events without messages

Checkpoints = Callable[[], Mapping[QueueKind, int]]


class Ledger:
    """Gathers and saves. `next_due` is when the first kept message is due, in seconds since 1970."""

    def __init__(self, store: RelayStore, kept: Kept, names: QueueNames, checkpoints: Checkpoints) -> None:
        self._store, self._names, self._checkpoints = store, names, checkpoints
        self.totals, self.next_due = kept.totals, kept.next_due
        self.saved_totals = kept.totals.copy()  # those that the next relay goes on from
        self.settled = dict.fromkeys(QueueKind, 0)  # of the log's messages: published, or kept until due
        self.due_changed = asyncio.Event()
        self._saved = dict(kept.checkpoints)
        self._due_later: list[Message] = []
        self._due_published: list[str] = []
        self._urgent = asyncio.Event()
        self._saving = asyncio.Lock()

    # -- what happens -------------------------------------------------------------------------------------------------

    def keep(self, message: Message) -> None:
        """A message of the log that is due later."""
        self._due_later.append(message)
        self.settled[message.queue] += 1
        self._urgent.set()

    def published(self, parcel: Parcel) -> None:
        self.settled[parcel.message.queue] += 1
        self._count(parcel)

    def published_when_due(self, parcel: Parcel) -> None:
        """A message that was kept until now."""
        self._due_published.append(parcel.message.message_id)
        self._count(parcel)

    def not_published(self, parcel: Parcel) -> None:
        queue = self._names.of(parcel.message.queue)
        self.totals.failures[queue] = self.totals.failures.get(queue, 0) + 1
        self._urgent.set()

    def _count(self, parcel: Parcel) -> None:
        queue, kind = self._names.of(parcel.message.queue), parcel.message.dead_letter
        self.totals.published[queue] = self.totals.published.get(queue, 0) + 1
        if kind is not None:
            self.totals.dead_letters[kind] = self.totals.dead_letters.get(kind, 0) + 1
        self._urgent.set()

    # -- writing ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Saves for ever. Raises LeaseLost. While the store is away, all is kept for the next try."""
        backoff = Backoff()
        while True:
            try:
                async with asyncio.timeout(IDLE_SAVE_SECONDS):
                    await self._urgent.wait()
            except TimeoutError:
                pass
            try:
                await self.save()
                backoff.reset()
                await asyncio.sleep(SAVE_SECONDS)
            except StoreError as error:
                logger.warning("checkpoints not saved", extra={"event_type": "relay_not_saved", "error": str(error)})
                await asyncio.sleep(backoff.seconds())

    async def save(self, *, anyway: bool = False) -> None:
        """Writes what has gathered until now, or `anyway`. Raises LeaseLost or a StoreError; then it is kept."""
        async with self._saving:
            checkpoints = dict(self._checkpoints())
            if checkpoints == self._saved and not self._urgent.is_set() and not anyway:
                return
            self._urgent.clear()
            progress = Progress(checkpoints, list(self._due_later), list(self._due_published), self.totals.copy())
            try:
                next_due = await self._store.save(progress)
            except BaseException:
                self._urgent.set()
                raise
            self._saved, self.saved_totals = checkpoints, progress.totals
            del self._due_later[: len(progress.due_later)]
            del self._due_published[: len(progress.due_published)]
            if next_due != self.next_due:
                self.next_due = next_due
                self.due_changed.set()


class DueProgress:
    """`lane.Progress` of the messages that were kept until they were due."""

    def __init__(self, ledger: Ledger) -> None:
        self.published, self.not_published = ledger.published_when_due, ledger.not_published
