"""`audit export`: the log, or a part of it, as JSON Lines (`api/cli/audit/jsonl.py`), in constant memory.

A file is written beside its place under the name FILE.part and gets its own when it is complete. Interrupted or killed,
that one stays: the same command goes on behind its last whole event.
"""

import fcntl
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from api.cli.audit.jsonl import EVENT, End, Header, checkpoint_line, event_line, read_event
from api.cli.audit.log import BEFORE_ALL, events_of, read_ahead
from api.cli.client.output import plain, write
from api.cli.ending import CommandFailed, writing
from api.cli.progress import bar
from infra.checkpoints import Line
from infra.log_database import LogAdapter, StoredAt
from infra.seals import Checkpoint

Write = Callable[[bytes], object]


@dataclass(slots=True)
class Part:
    """How far an export is."""

    events: int = 0
    last: int | None = None  # position of the last event; None before the first


def export_to_stdout(log: LogAdapter, header: Header, lines: list[Line]) -> None:
    write(header.line + b"\n")
    _export(log, header, lines, Part(), write)


def export_to_file(log: LogAdapter, header: Header, lines: list[Line], path: Path) -> tuple[Part, bool]:
    """How much it is, and whether it went on with what was there. Raises CommandFailed for what cannot be written."""
    part = path.with_name(f"{path.name}.part")
    with writing(path):
        if path.exists() and not path.is_file():
            raise CommandFailed(f"{path} cannot be written: it is no ordinary file")
        with part.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # by another export to the same place
            before = _what_is_there(file, header)
            if before is None:
                file.truncate(0)
                file.write(header.line + b"\n")
            done = before or Part()
            try:
                _export(log, header, lines, done, file.write)
            except KeyboardInterrupt:
                print(f"{plain(part)} stays: the same command goes on there", file=sys.stderr)
                raise
            file.flush()
            os.fsync(file.fileno())
            part.replace(path)
    return done, before is not None


def summary(body: dict[str, Any]) -> str:
    how = ", going on where it was interrupted" if body["resumed"] else ""
    of = "" if body["complete"] else " of a part of the log"
    return f"Exported {body['events']} events{of} to {plain(body['file'])}{how}"


def _what_is_there(file: BinaryIO, header: Header) -> Part | None:
    """The part that an earlier run has left, cut after its last whole event; None if it is of another export."""
    file.seek(0)
    if file.readline() != header.line + b"\n":
        return None
    found, end, last = Part(), file.tell(), b""
    for line in file:
        if not (line.startswith(EVENT) and line.endswith(b"\n")):
            break
        found.events, end, last = found.events + 1, end + len(line), line
    if last:
        found.last = read_event(last[:-1])[1]
    file.truncate(end)
    return found


def _export(log: LogAdapter, header: Header, lines: list[Line], part: Part, put: Write) -> None:
    head = log.head()
    until = head if header.to is None else min(header.to, head)
    begin = BEFORE_ALL if header.from_ is None else header.from_ - 1
    wanted = _wanted(header)
    with bar("Export", until) as tell:
        for events in read_ahead(events_of(log, begin if part.last is None else part.last, until)):
            found = [event for event in events if wanted(event)]
            if found:
                put(b"".join(event_line(*event) + b"\n" for event in found))
                part.events, part.last = part.events + len(found), found[-1][1]
            tell(events[-1][1])
    for line in over(lines, begin, until) if header.without_gaps else ():
        put(checkpoint_line(line.content) + b"\n")
    put(End(part.events, until).line + b"\n")


def _wanted(header: Header) -> Callable[[StoredAt], bool]:
    def wanted(event: StoredAt) -> bool:
        stored, _ = event
        if header.type is not None and stored.topic != header.type:
            return False
        return header.user is None or _user_of(stored.state) == header.user

    return wanted


def _user_of(state: bytes) -> str | None:
    try:
        owner = orjson.loads(state)["metadata"]["owner"]
        return str(owner["user_id"]) if owner else None
    except (ValueError, LookupError, TypeError):
        return None


def over(lines: Iterable[Line], begin: int, until: int) -> Iterator[Line]:
    """The checkpoints whose events are all there, and the one before them. What cannot be read goes along."""
    for line in lines:
        try:
            position = Checkpoint.parse(line.content).position
        except ValueError:
            position = until
        if begin <= position <= until:
            yield line
