"""What a process knows of the rate-limit windows that it has asked about, and how it counts by that.

What is known of a window is a hint of what to try. Where it is nearly full, the database decides whether a hit is
counted. Where half of it was free a moment ago, a hit is counted without asking, and taken back if the look that
follows shows that others had filled it meanwhile. Killed at any point, a process leaves counts of requests that were
made.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from domain.ports import Clock
from infra.rate_documents import RateDocuments
from infra.rate_windows import (
    Document,
    Size,
    Update,
    Window,
    counting,
    giving_back,
    taking_back,
    taking_out,
    version_of,
)

KNOWN = 4_096  # windows
FRESH_SECONDS = 1.0
GIVE_BACK_TRIES = 3


class RateCounts:
    """All that asks the database raises what `RateDocuments` does."""

    def __init__(self, documents: RateDocuments, clock: Clock) -> None:
        self._documents, self._clock = documents, clock
        self._known: OrderedDict[str, Window] = OrderedDict()

    # -- what is known ------------------------------------------------------------------------------------------------

    def known(self, key: str, now: int) -> Window | None:
        """As it is now (milliseconds) by the last look at it."""
        window = self._known.get(key)
        if window is None:
            return None
        if not window.advance(now):
            del self._known[key]
            return None
        self._known.move_to_end(key)
        return window

    def fresh(self, key: str, now: int) -> Window | None:
        """The same, if that look was a moment ago."""
        window = self.known(key, now)
        if window is None or asyncio.get_running_loop().time() - window.seen_at >= FRESH_SECONDS:
            return None
        return window

    def drop(self, key: str) -> None:
        """Nothing of it is known then."""
        self._known.pop(key, None)

    def now(self) -> int:
        """Milliseconds."""
        return round(self._clock.now().timestamp() * 1000)

    def _learn(self, key: str, size: Size, document: Document) -> Window:
        window = self._known[key] = Window.of(size, document, self.now(), asyncio.get_running_loop().time())
        self._known.move_to_end(key)
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)
        return window

    # -- many at once -------------------------------------------------------------------------------------------------

    async def hit(self, amounts: Mapping[str, int], sizes: Mapping[str, Size]) -> set[str]:
        """Counts so many hits in each window, all or none of them, and looks at all windows in `sizes`.

        Gives the windows in which there was no room, so that nothing was counted. There may be room in them once what
        has left is taken out: what is known of them now tells.
        """
        now = self.now()
        windows = {key: self.fresh(key, now) for key in amounts}
        unasked = {key for key, window in windows.items() if window and window.has_plenty(amounts[key])}
        updates = {
            key: [
                *self._taking_out(key, amount),
                counting(key, sizes[key], amount, now, plenty=key in unasked),
            ]
            for key, amount in amounts.items()
        }
        known = {key for key in sizes if key in self._known}
        turn = await self._documents.hit(updates, known, sizes.keys())
        await self._look(sizes, turn.totals, turn.documents)
        over = {key for key in unasked if (window := self._known.get(key)) and window.hits > window.size.most}
        if over:
            await self._take_back({key: taking_back(key, sizes[key].slot_at(now), amounts[key]) for key in over})
        return {*turn.full, *over}

    def _taking_out(self, key: str, amount: int) -> Sequence[Update]:
        window = self._known.get(key)
        return [taking_out(key, window)] if window and window.needs_taking_out(amount) else []

    async def _look(
        self, sizes: Mapping[str, Size], totals: Mapping[str, Document], documents: Mapping[str, Document]
    ) -> None:
        """Brings what is known up to date: of most windows, just how many hits there are."""
        now, seen_at = self.now(), asyncio.get_running_loop().time()
        stale: list[str] = []
        for key, size in sizes.items():
            window, total = self._known.get(key), totals.get(key)
            if key in documents:
                self._learn(key, size, documents[key])
            elif window and total and version_of(total) == window.version:
                window.total, window.seen_at = total["total"], seen_at
                if self.known(key, now) is None:
                    stale.append(key)
            else:
                self.drop(key)
                stale.append(key)
        if stale:
            for key, document in (await self._documents.read(stale)).items():
                self._learn(key, sizes[key], document)

    async def _take_back(self, updates: Mapping[str, Update]) -> None:
        for key in updates:
            self.drop(key)
        await self._documents.update(list(updates.values()))

    # -- one window ---------------------------------------------------------------------------------------------------

    async def window(self, key: str, size: Size) -> Window | None:
        """As it was seen a moment ago, or is read now. None: nothing was counted in it for long."""
        window = self.fresh(key, self.now())
        if window is None and (document := (await self._documents.read([key])).get(key)):
            return self._learn(key, size, document)
        return window

    async def give_back(self, key: str, size: Size, amount: int, since: int) -> None:
        """Takes out hits that were counted by one call, which began at `since` (milliseconds).

        They come from the first slot since then that has so many: their own, or an earlier one, so that what stays
        counts rather too long than too short. If others change the window each time, they stay in it.
        """
        for _ in range(GIVE_BACK_TRIES):
            self.drop(key)
            document = (await self._documents.read([key])).get(key)
            update = giving_back(key, document, size.slot_at(since), amount) if document else None
            if update is None or await self._documents.update([update]):
                return

    async def forget(self, key: str | None = None) -> int:
        """This window, or all. Gives how many there were. Other processes may refuse a moment longer."""
        if key is None:
            self._known.clear()
        else:
            self.drop(key)
        return await self._documents.delete(key)
