"""From a time to a position: how far the log had got by then.

The log is in the order of commits. Times rise with it but for what the clocks of machines differ, and for appends that
overtake each other; so the place is found by halving, and the next DISORDER events are looked at as well.
"""

from datetime import datetime

from infra.log_database import LogAdapter
from infra.mapper import EventMapper

DISORDER = 1_000  # events


def position_at(adapter: LogAdapter, at: datetime) -> int:
    """The position of the last event that had occurred by then; 0 if there is none. Raises a StoreError."""
    occurred_at = EventMapper().occurred_at
    low, high = 0, adapter.head()  # by then the log was at `low` at least; what is beyond `high` came later
    while low < high:
        middle = (low + high) // 2
        found = adapter.select_after(middle, 1)
        if not found or found[0][1] > high:  # positions have gaps
            high = middle
        elif occurred_at(found[0][0].state) <= at:
            low = found[0][1]
        else:
            high = middle
    return _past_disorder(adapter, low, at)


def _past_disorder(adapter: LogAdapter, position: int, at: datetime) -> int:
    occurred_at = EventMapper().occurred_at
    last, looked_at, left = position, position, DISORDER
    while left and (found := adapter.select_after(looked_at, left)):  # a read is bounded in bytes, too
        last = max([last, *(one for stored, one in found if occurred_at(stored.state) <= at)])
        looked_at, left = found[-1][1], left - len(found)
    return last
