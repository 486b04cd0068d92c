"""Holds a log against its signed checkpoints (`infra/seals.py`): these against each other, and the events to them.

Both are walked through side by side, so it takes the same memory however many there are.

A digest begins with the one of the checkpoint before, as that is written, so each part of the log is checked by itself:
what is wrong in one does not hide what is wrong in the next.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from api.cli.audit.findings import Findings
from infra.audit_keys import PublicKey
from infra.checkpoints import Line
from infra.log_database import StoredAt
from infra.seals import START, Checkpoint, Digest

Keys = Mapping[str, PublicKey]


def read_checkpoints(
    lines: Iterable[Line], keys: Keys, findings: Findings, *, whole: bool = True
) -> Iterator[Checkpoint]:
    """Those that can be read, in order; what is wrong with any is told. `whole`: they begin with the first one."""
    before: Checkpoint | None = None
    for line in lines:
        try:
            checkpoint = Checkpoint.parse(line.content)
        except ValueError:
            findings.add(f"{line.place} is no checkpoint as it was written")
            continue
        key = keys.get(checkpoint.key_id)
        if key is None:
            findings.add(f"checkpoint {checkpoint.number} is signed with an unknown key, {checkpoint.key_id}")
        elif not checkpoint.signed_by(key):
            findings.add(f"checkpoint {checkpoint.number} was changed: its signature does not fit")
        if before is None:
            if whole and (checkpoint.number, checkpoint.previous) != (1, START):
                findings.add(f"the checkpoints begin with number {checkpoint.number}: earlier ones are missing")
        elif not _follows(before, checkpoint):
            findings.add(f"checkpoint {checkpoint.number} does not follow checkpoint {before.number}")
        yield checkpoint
        before = checkpoint


def _follows(before: Checkpoint, after: Checkpoint) -> bool:
    return (
        after.number == before.number + 1
        and after.previous == before.hash
        and after.position > before.position
        and after.count > 0
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """The events after the checkpoint `before`, up to `until`. None: those before the first one."""

    before: Checkpoint | None
    until: Checkpoint

    @property
    def name(self) -> str:
        first = self.before.position + 1 if self.before else 1
        return f"positions {first} to {self.until.position}"

    @property
    def can_be_checked(self) -> bool:
        return (self.before.number if self.before else 0) + 1 == self.until.number


class Chain:
    """Takes the events of the log in its order. `count` and `last` are of the checkpoints that were read until now.

    `sealed` counts those that were found as they were sealed, `unsealed` those behind the last checkpoint, `skipped`
    those that the first one cannot tell of.
    """

    last: Checkpoint | None

    def __init__(self, checkpoints: Iterable[Checkpoint], findings: Findings, *, whole: bool = True) -> None:
        """Without `whole`, what is before the first checkpoint is not looked at."""
        self._checkpoints, self.findings = iter(checkpoints), findings
        self.count, self.last = 0, None
        self.sealed = self.unsealed = self.skipped = 0
        first = None if whole else self._next()
        self._after = first.position if first else 0
        self._next_part()

    def add(self, events: Sequence[StoredAt]) -> None:
        """In the order of their positions."""
        left = events
        if self._after:
            left = events[bisect_right(events, self._after, key=_position) :]
            self.skipped += len(events) - len(left)
        while left and self._part is not None:
            end = bisect_right(left, self._part.until.position, key=_position)
            if self._digest is not None:
                self._digest.add(left[:end])
            left = left[end:]
            if left:
                self._close(self._part)
                self._next_part()
        self.unsealed += len(left)

    def end(self) -> None:
        """No more events come: whatever a checkpoint still expects is missing."""
        while self._part is not None:
            self._close(self._part)
            self._next_part()

    def _next(self) -> Checkpoint | None:
        found = next(self._checkpoints, None)
        if found is not None:
            self.count, self.last = self.count + 1, found
        return found

    def _next_part(self) -> None:
        last, until = self.last, self._next()
        self._part = None if until is None else _Part(last, until)
        before = self._part.before.digest if self._part and self._part.before else START
        self._digest = Digest(before) if self._part and self._part.can_be_checked else None

    def _close(self, part: _Part) -> None:
        digest, until = self._digest, part.until
        if digest is None:
            self.findings.add(f"{part.name} cannot be checked: the checkpoint before number {until.number} is missing")
        elif digest.count != until.count:
            self.findings.add(
                f"{part.name}: checkpoint {until.number} sealed {until.count} events, there are {digest.count}"
            )
        elif digest.hex != until.digest:
            self.findings.add(f"{part.name}: the events are not those that checkpoint {until.number} sealed")
        else:
            self.sealed += digest.count


def _position(event: StoredAt) -> int:
    return event[1]
