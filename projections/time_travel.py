"""What the API answered at a position of the log, from the log itself (contract http.md 1.6a).

An application's own stream is enough for its status and its entries. For a list, the read model `status` tells which
applications its user has; what they were then is folded from their streams, and those that came later show nothing.
The work is bounded: by the jobs of these applications, by the time that it takes, and by how many do it at once.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol
from uuid import UUID

from domain.errors import Overloaded
from domain.event import RecordedEvent
from domain.ports import EventLog
from projections.pages import HIDDEN, Filters, Page, cursor_of, order_in, shows
from projections.past import fold_entries, fold_status, up_to

JOBS_MAX = 2_000  # of a user's applications, to make a list
SECONDS = 10.0  # for one answer, waiting for the others included
AT_ONCE = 2  # lists that a process makes
STREAMS_AT_ONCE = 20

Document = Mapping[str, Any]


class TooFarBack(ValueError):
    """A list of the past would take more work than one request may cost."""

    def __init__(self) -> None:
        super().__init__(f"concerns more than {JOBS_MAX} jobs: narrow it by date_from and date_to")


class Submissions(Protocol):
    """Who knows which applications a user has."""

    async def submissions(self, user_id: str, filters: Filters, limit: int, at_least: int) -> Sequence[tuple[str, int]]:
        """Ids of all that were submitted up to a position and in the filters' time, each with its number of jobs.

        More than `limit` of them are not told. Raises ReadModelBehind, and what the database raises.
        """


class Past:
    """One for a process."""

    def __init__(self, log: EventLog, submissions: Submissions) -> None:
        self._log, self._submissions = log, submissions
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def status(self, application_id: UUID, position: int) -> Document | None:
        """None if it did not exist yet; its `user_id` tells whose it is."""
        return fold_status(await self._stream(application_id, position))

    async def entry(self, kind: str, application_id: UUID, entry_id: str, position: int) -> Document | None:
        """An entry of that list, with its documents; its `user_id` tells whose it is."""
        entries = fold_entries(kind, await self._stream(application_id, position))
        return next((entry for entry in entries if entry["_id"] == entry_id), None)

    async def page(
        self, kind: str, user_id: str, filters: Filters, limit: int, cursor: str | None, position: int
    ) -> Page:
        """Newest submission first.

        Raises BadCursor, TooFarBack, ReadModelBehind, and Overloaded if it takes too long.
        """
        before = None if cursor is None else order_in(cursor)
        async with self._bounded():
            ids = await self._submissions.submissions(user_id, filters, JOBS_MAX + 1, position)
            if sum(jobs for _, jobs in ids) > JOBS_MAX:
                raise TooFarBack
            found = [one async for one in self._entries(kind, [UUID(id) for id, _ in ids], filters, position)]
        found.sort(key=lambda entry: entry["order"], reverse=True)
        after = [entry for entry in found if before is None or entry["order"] < before]
        page, more = after[:limit], len(after) > limit
        return Page(page, cursor_of(page[-1]) if more else None, len(found), position)

    async def _entries(
        self, kind: str, ids: Sequence[UUID], filters: Filters, position: int
    ) -> AsyncIterator[Document]:
        """Without what a list does not show."""
        for begin in range(0, len(ids), STREAMS_AT_ONCE):
            chosen = ids[begin : begin + STREAMS_AT_ONCE]
            for recorded in await asyncio.gather(*(self._stream(id, position) for id in chosen)):
                for entry in fold_entries(kind, recorded):
                    if shows(filters, entry):
                        yield {key: value for key, value in entry.items() if key not in HIDDEN}

    async def _stream(self, application_id: UUID, position: int) -> Sequence[RecordedEvent]:
        return up_to(await self._log.read_stream(application_id), position)

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        limit = asyncio.timeout(SECONDS)
        try:
            async with limit, self._at_once:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise Overloaded("The past takes too long to be told") from None
