"""Holds a log against its signed checkpoints (`infra/seals.py`): first these against each other, then the events.

A digest begins with the one of the checkpoint before, as that is written, so each part of the log is checked by itself:
what is wrong in one does not hide what is wrong in the next.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from api.cli.audit.findings import Findings
from infra.audit_keys import PublicKey
from infra.checkpoints import Line
from infra.log_database import StoredAt
from infra.seals import START, Checkpoint, Digest

Keys = Mapping[str, PublicKey]


def read_checkpoints(lines: Iterable[Line], keys: Keys, findings: Findings, *, whole: bool = True) -> list[Checkpoint]:
    """Those that can be read, in order; what is wrong with any is told. `whole`: they begin with the first one."""
    found: list[Checkpoint] = []
    for line in lines:
        try:
            checkpoint = Checkpoint.parse(line.content)
        except ValueError:
            findings.add(f"{line.place} is no checkpoint as it was written")
            continue
        found.append(checkpoint)
        key = keys.get(checkpoint.key_id)
        if key is None:
            findings.add(f"checkpoint {checkpoint.number} is signed with an unknown key, {checkpoint.key_id}")
        elif not checkpoint.signed_by(key):
            findings.add(f"checkpoint {checkpoint.number} was changed: its signature does not fit")
    if whole and found and (found[0].number, found[0].previous) != (1, START):
        findings.add(f"the checkpoints begin with number {found[0].number}: earlier ones are missing")
    for before, after in pairwise(found):
        if not _follows(before, after):
            findings.add(f"checkpoint {after.number} does not follow checkpoint {before.number}")
    return found


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
    """Takes the events of the log in its order.

    `sealed` counts those that were found as they were sealed, `unsealed` those behind the last checkpoint, `skipped`
    those that the first one cannot tell of.
    """

    def __init__(self, checkpoints: Sequence[Checkpoint], findings: Findings, *, whole: bool = True) -> None:
        """Without `whole`, what is before the first checkpoint is not looked at."""
        befores: list[Checkpoint | None] = [None, *checkpoints] if whole else [*checkpoints]
        untils = checkpoints if whole else checkpoints[1:]
        self._parts = iter([_Part(before, until) for before, until in zip(befores, untils, strict=False)])
        self._findings = findings
        self._after = 0 if whole or not checkpoints else checkpoints[0].position
        self.sealed = self.unsealed = self.skipped = 0
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

    def _next_part(self) -> None:
        self._part = next(self._parts, None)
        before = self._part.before.digest if self._part and self._part.before else START
        self._digest = Digest(before) if self._part and self._part.can_be_checked else None

    def _close(self, part: _Part) -> None:
        digest, until = self._digest, part.until
        if digest is None:
            self._findings.add(f"{part.name} cannot be checked: the checkpoint before number {until.number} is missing")
        elif digest.count != until.count:
            self._findings.add(
                f"{part.name}: checkpoint {until.number} sealed {until.count} events, there are {digest.count}"
            )
        elif digest.hex != until.digest:
            self._findings.add(f"{part.name}: the events are not those that checkpoint {until.number} sealed")
        else:
            self.sealed += digest.count


def _position(event: StoredAt) -> int:
    return event[1]
