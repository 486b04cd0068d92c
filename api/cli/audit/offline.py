"""`audit verify --export`: an export by itself, with neither the log nor its server (contract cli.md 5).

It is read twice: once for its ends and the checkpoints, once for the events. Of a part of the log only that is checked
for which the part is enough, and the report says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from api.cli.audit.chain import Chain, read_checkpoints
from api.cli.audit.export import over
from api.cli.audit.findings import Findings
from api.cli.audit.jsonl import CHECKPOINT, END, End, Header, NoExport, read_checkpoint, read_event
from api.cli.audit.log import BATCH, read_ahead
from api.cli.audit.verification import Verification
from api.cli.audit.verify import Body, report
from api.cli.ending import CommandFailed
from api.cli.progress import bar
from infra.audit_keys import PublicKey
from infra.checkpoints import Line
from infra.log_database import StoredAt
from infra.memory import rare_collections


def verify_export(path: Path, keys: Mapping[str, PublicKey], copy: Sequence[Line] | None) -> Body:
    """`copy`: checkpoints kept elsewhere, which those of the export must be. Raises CommandFailed."""
    findings, evidence = Findings(), Findings()
    with _opened(path) as file:
        try:
            header = Header.parse(file.readline().rstrip(b"\n"))
        except NoExport as error:
            raise CommandFailed(f"{path}: {error}") from None
        lines, end = _frame(file, evidence)
        if copy is not None and header.without_gaps:
            lines = _of_copy(lines, copy, header, end, evidence)
        whole = header.from_ is None
        checkpoints = list(read_checkpoints(lines, keys, evidence, whole=whole))
        chain = Chain(checkpoints, evidence, whole=whole) if header.without_gaps else None
        verification = Verification(findings, chain, from_start=header.without_gaps and whole)
        with rare_collections(), bar("Verify", end.events if end else 0) as tell:
            for events in read_ahead(verification.chained(_events(file, evidence))):
                verification.add(events)
                tell(verification.events)
    verification.end(complete=header.to is None)
    if end is not None and end.events != verification.events:
        findings.add(f"the export says that it holds {end.events} events, there are {verification.events}")
    if header.complete and verification.events and not checkpoints:
        evidence.add("there are no checkpoints: nothing tells whether the events are as they were written")
    return report(str(path), verification, evidence, part=header.about or None, not_checked=_not_checked(header))


def _not_checked(header: Header) -> str | None:
    if header.complete:
        return None
    if not header.without_gaps:
        return "only that it can be read was checked, neither its streams nor the hash chain"
    return "what the rest of the log would tell was not checked"


def _frame(file: BinaryIO, findings: Findings) -> tuple[list[Line], End | None]:
    """The checkpoints and the end."""
    lines: list[Line] = []
    end = None
    for number, line in enumerate(file, 2):
        content = line.rstrip(b"\n")
        if end is not None:
            findings.add(f"line {number} stands behind the end of the export")
        if content.startswith(CHECKPOINT):
            lines.append(Line(read_checkpoint(content), f"line {number}"))
        elif content.startswith(END):
            try:
                end = End.parse(content)
            except NoExport as error:
                findings.add(f"line {number}: {error}")
    if end is None:
        findings.add("the export has no end: it is not whole")
    return lines, end


def _events(file: BinaryIO, findings: Findings) -> Iterator[Sequence[StoredAt]]:
    file.seek(0)
    file.readline()
    found: list[StoredAt] = []
    for number, line in enumerate(file, 2):
        content = line.rstrip(b"\n")
        if content.startswith((CHECKPOINT, END)):
            continue
        try:
            found.append(read_event(content))
        except NoExport as error:
            findings.add(f"line {number}: {error}")
        if len(found) == BATCH:
            yield found
            found = []
    if found:
        yield found


def _of_copy(
    lines: Sequence[Line], copy: Sequence[Line], header: Header, end: End | None, findings: Findings
) -> list[Line]:
    """The checkpoints of the copy over what was exported. Those of the export must be among them."""
    kept = {line.content for line in copy}
    for line in lines:
        if line.content not in kept:
            findings.add(f"{line.place}: this checkpoint is not in AUDIT_CHECKPOINT_DIR")
    begin = 0 if header.from_ is None else header.from_ - 1
    return list(over(copy, begin, end.position if end else 2**63))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}") from None
