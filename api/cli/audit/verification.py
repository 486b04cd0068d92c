"""What `audit verify` checks, event by event (contract cli.md 5): order, streams, schema, statuses, hash chain."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

from api.cli.audit.chain import Chain
from api.cli.audit.findings import Findings
from domain.errors import NewerEvent
from domain.event import Event
from domain.lifecycle import StreamLife
from infra.log_database import StoredAt
from infra.mapper import EventMapper


@dataclass(slots=True)
class Verification:
    """Takes the whole log, or an export, in its order, `chained` first.

    Memory grows with the streams, not with the events.
    `from_start`: all streams are there from their beginning; else no life of one is looked at.
    """

    findings: Findings
    chain: Chain | None
    from_start: bool = True
    events: int = 0
    last: int = 0  # position
    _lives: dict[int, StreamLife] = field(default_factory=dict)
    _mapper: EventMapper = field(default_factory=EventMapper)

    @property
    def streams(self) -> int:
        return len(self._lives)

    def chained(self, batches: Iterable[Sequence[StoredAt]]) -> Iterator[Sequence[StoredAt]]:
        """The same batches, held against the chain; that may be done in another thread than `add`."""
        for events in batches:
            if self.chain is not None:
                self.chain.add(events)
            yield events

    def add(self, events: Sequence[StoredAt]) -> None:
        last, read = self.last, self._mapper.read
        for stored, position in events:
            if position <= last:  # none is below 1 either
                self.findings.add(f"position {position} comes after position {last}")
            last = max(last, position)
            try:
                event, _ = read(stored.topic, stored.state)
                stream = cast(UUID, stored.originator_id).int
            except NewerEvent as error:
                self.findings.add(f"position {position}: {error}")
            except Exception as error:  # whatever somebody has made of it
                self.findings.add(f"position {position}: {stored.topic!r} cannot be read: {_first_line(error)}")
            else:
                if self.from_start:
                    self._live(stream, position, stored.originator_version, event)
        self.last = last
        self.events += len(events)

    def end(self, *, complete: bool = True) -> None:
        """No more events come. `complete`: there are no more."""
        if self.chain is not None:
            self.chain.end()
        if not complete:
            return
        for stream, life in self._lives.items():
            if problem := life.end():
                self.findings.add(f"stream {UUID(int=stream).hex} {problem}")

    def _live(self, stream: int, position: int, version: int, event: Event) -> None:
        life = self._lives.get(stream)
        if life is None:
            life = self._lives[stream] = StreamLife()
        if problem := life.next(version, event):
            self.findings.add(f"position {position}: stream {UUID(int=stream).hex}: {problem}")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
