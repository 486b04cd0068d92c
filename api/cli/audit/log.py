"""The event log as operators' commands read it: by its adapter, without the roles' machinery."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from api.cli.ending import CommandFailed
from api.ownership import EntryId
from api.parameters import parse_datetime
from api.positions import POSITION
from domain.errors import ApplicationNotFound, NewerEvent, StoreError
from infra.event_log import log_adapter
from infra.log_database import LogAdapter, StoredAt
from infra.log_times import position_at
from infra.settings import Settings

T = TypeVar("T")

CONNECTIONS = 2
BATCH = 1_000  # events
BEFORE_ALL = -(2**63)  # SQLite would take an event at a position that is none of ours


@contextmanager
def opened_log(settings: Settings) -> Iterator[LogAdapter]:
    """The log of EVENT_STORE, which must be there. Raises CommandFailed, also for what is raised inside of its kind."""
    path = Path(settings.event_store.removeprefix("sqlite:///"))
    if settings.event_store.startswith("sqlite:") and not path.is_file():
        raise CommandFailed(f"there is no event log at {path} (EVENT_STORE)")
    adapter = log_adapter(settings.event_store, CONNECTIONS)
    try:
        adapter.open()
        try:
            yield adapter
        finally:
            adapter.close()
    except StoreError as error:
        raise CommandFailed(f"EVENT_STORE cannot be used: {_reason(error)}") from None
    except NewerEvent as error:
        raise CommandFailed(str(error)) from None


def events_of(adapter: LogAdapter, after: int, until: int) -> Iterator[Sequence[StoredAt]]:
    """The events after one position up to another, in batches."""
    last = after
    while last < until and (found := adapter.select_after(last, BATCH)):
        last = found[-1][1]
        events = found if last <= until else [event for event in found if event[1] <= until]
        if events:
            yield events


def read_ahead(batches: Iterable[T]) -> Iterator[T]:
    """The same; the next one is made in another thread while the last is worked on."""
    source = iter(batches)
    with ThreadPoolExecutor(1, "audit") as reader:
        reading = reader.submit(next, source, None)
        while (found := reading.result()) is not None:
            reading = reader.submit(next, source, None)
            yield found


def stream_of(adapter: LogAdapter, text: str) -> Sequence[StoredAt]:
    """All events of an application or a batch; of an application its entries' ids will do, too.

    Raises CommandFailed for an unknown one.
    """
    found = adapter.select_streams([_stream_id(text).hex])
    if not found:
        raise CommandFailed(f"Application not found: {text}")
    return found


def _stream_id(text: str) -> UUID:
    try:
        return EntryId.parse(text.strip().lower()).application_id
    except ApplicationNotFound:
        raise CommandFailed(f"Application not found: {text}") from None


Moment = int | datetime


def moment(text: str) -> Moment:
    """Digits are a position, anything else is a time. Raises ValueError."""
    return int(text) if POSITION.fullmatch(text) else parse_datetime(text)


def position_of(adapter: LogAdapter, wanted: Moment) -> int:
    """The position that the log had reached then. Raises CommandFailed for what has not come yet."""
    if isinstance(wanted, datetime):
        if wanted > datetime.now(UTC):
            raise CommandFailed(f"{wanted:%Y-%m-%d %H:%M:%S} has not come yet")
        return position_at(adapter, wanted)
    head = adapter.head()
    if wanted > head:
        raise CommandFailed(f"position {wanted} is beyond the newest event, {head}")
    return wanted


def positions_between(adapter: LogAdapter, begin: Moment | None, end: Moment | None) -> tuple[int | None, int | None]:
    """The first and the last position between two moments, both included; None for no limit. Raises CommandFailed."""
    last = None if end is None else position_of(adapter, end)
    if begin is None:
        return None, last
    before = begin - timedelta(milliseconds=1) if isinstance(begin, datetime) else begin - 1
    first = max(position_of(adapter, before), 0) + 1
    if last is not None and first > last:
        raise CommandFailed("--from is after --to")
    return (first if first > 1 else None), last


def _reason(error: BaseException) -> str:
    """What we say, and what the store's own library said."""
    deepest = error
    while deepest.__cause__ is not None:
        deepest = deepest.__cause__
    return str(error) if deepest is error else f"{error}: {str(deepest).strip()}"
