"""How much one process works on at the same moment; what comes beyond is refused at once (contract http.md, ERR_1008).

Without a bound, ten times the load makes every caller wait ten times as long, until all of them give up and their work
is done for nobody. So a process takes a fixed number of reads and of writes; the next gets 503 with `Retry-After`
before its token is checked or its body is read, which costs a fraction of an answer, and what was taken ends as ever.

Reads and writes are counted apart: while MongoDB is away every read waits for seconds, and submissions, which do not
need it, go on; while the event log hangs, what is not the log's is answered. Who only waits for his caller, to send the
body or to take a download or a stream, holds no place: a slow line must not shut out others. Probes, metrics and pages
are never refused.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

from domain.errors import Overloaded

IN_PROGRESS_MAX = 256  # of each kind: at the rate of one process, a quarter of a second of work


@dataclass(slots=True)
class Admission:
    """The places of a process for one kind of request."""

    most: int = IN_PROGRESS_MAX
    taken: int = field(default=0, init=False)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Raises Overloaded when all are taken."""
        if self.taken >= self.most:
            raise Overloaded("Too many requests are being answered")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    @contextmanager
    def away(self) -> Iterator[None]:
        """Gives a place back for as long as its holder waits for his caller. Who was let in is not refused again."""
        self.taken -= 1
        try:
            yield
        finally:
            self.taken += 1


DOWNLOADS_MAX, DOWNLOADS_OF_ONE = 32, 4


@dataclass(slots=True)
class Downloads:
    """Exports under way in this process. Each holds a page of rows for as long as its caller's line takes, so they are
    bounded apart, and those of one user more narrowly: who takes his time shuts nobody out.
    """

    most: int = DOWNLOADS_MAX
    most_of_one: int = DOWNLOADS_OF_ONE
    taken: Counter[str] = field(default_factory=Counter, init=False)

    @contextmanager
    def place(self, user_id: str) -> Iterator[None]:
        """Raises Overloaded when there is none for him."""
        if self.taken[user_id] >= self.most_of_one or self.taken.total() >= self.most:
            raise Overloaded("Too many exports are being sent")
        self.taken[user_id] += 1
        try:
            yield
        finally:
            self.taken[user_id] -= 1
            if not self.taken[user_id]:
                del self.taken[user_id]


DOWNLOADS = web.AppKey("DOWNLOADS", Downloads)
READS = web.AppKey("READS", Admission)
WRITES = web.AppKey("WRITES", Admission)
PLACES = web.RequestKey("PLACES", Admission)  # of which the request holds one


@contextmanager
def admitted(request: web.Request, places: Admission | None) -> Iterator[None]:
    """Holds one of the places, if there are any to hold, while the request is answered. Raises Overloaded."""
    if places is None:
        yield
        return
    with places.place():
        request[PLACES] = places
        yield


@contextmanager
def waiting_for_caller(request: web.Request) -> Iterator[None]:
    """Around what takes as long as the caller's line does."""
    places = request.get(PLACES)
    if places is None:
        yield
        return
    with places.away():
        yield
