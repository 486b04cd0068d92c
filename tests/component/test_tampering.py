"""A thousand ways to change a log or its checkpoints, drawn at random, each of them found (contract cli.md 5).

A log is made once, on real SQLite, and sealed; each run changes a copy with SQL, or its checkpoints with an editor.
Left out is what nobody can find from here: the newest events cut off together with the checkpoints over them, and
events that no checkpoint covers yet. `TAMPERINGS=20` makes a short run; what is not found is told with its seed.
"""

import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from api.cli.audit.verify import verify_log
from infra.audit_keys import SigningKey
from infra.checkpoints import Line
from infra.seals import Checkpoint, sealed
from infra.sqlite_log import SqliteLog
from tests.evidence import AT, KEY, checkpoints_over, stored_events

RUNS = int(os.environ.get("TAMPERINGS", "1000"))
EVENTS = stored_events(10)
EVERY = 8
CHECKPOINTS = checkpoints_over(EVENTS, EVERY)
SEALED = CHECKPOINTS[-1].position
KEYS = {KEY.public.id: KEY.public}

Lines = list[bytes]
Sql = sqlite3.Connection


def row(draw: random.Random) -> int:
    return draw.randint(1, SEALED)


def two_rows(draw: random.Random) -> tuple[int, int]:
    first, second = draw.sample(range(1, SEALED + 1), 2)
    return min(first, second), max(first, second)


# -- of the log -------------------------------------------------------------------------------------------------------


def another_byte(draw: random.Random, db: Sql) -> None:
    position = row(draw)
    [state] = db.execute("SELECT state FROM stored_events WHERE rowid = ?", (position,)).fetchone()
    changed, at = bytearray(state), draw.randrange(len(state))
    changed[at] ^= draw.randint(1, 255)
    db.execute("UPDATE stored_events SET state = ? WHERE rowid = ?", (bytes(changed), position))


def another_word(draw: random.Random, db: Sql) -> None:
    """Still an event, which says something else."""
    position = row(draw)
    words = (b'"user:ada"', b'"user:bob"'), (b'"correlation-1"', b'"correlation-2"')
    was, now = draw.choice(words)
    [state] = db.execute("SELECT state FROM stored_events WHERE rowid = ?", (position,)).fetchone()
    assert was in state
    db.execute("UPDATE stored_events SET state = ? WHERE rowid = ?", (state.replace(was, now), position))


def another_column(draw: random.Random, db: Sql) -> None:
    column, value = draw.choice(
        [
            ("originator_version", draw.randint(100, 2**62)),
            ("originator_version", 0),
            ("topic", "application.requeued"),
            ("topic", "no.event"),
            ("originator_id", f"{draw.getrandbits(128):032x}"),
            ("originator_id", "no id"),
            ("state", "text"),
            ("state", b""),
            ("state", 5),
            ("state", 0.5),
            ("state", None),
        ]
    )
    db.execute(f"UPDATE stored_events SET {column} = ? WHERE rowid = ?", (value, row(draw)))


def another_form(draw: random.Random, db: Sql) -> None:
    """The same id to who reads it, and another one to who looks for it."""
    position = row(draw)
    [id] = db.execute("SELECT originator_id FROM stored_events WHERE rowid = ?", (position,)).fetchone()
    form = draw.choice([str(UUID(id)), f"{{{id}}}", f"urn:uuid:{id}", f"{id[:8]}-{id[8:]}"])
    db.execute("UPDATE stored_events SET originator_id = ? WHERE rowid = ?", (form, position))


def removed(draw: random.Random, db: Sql) -> None:
    first, last = two_rows(draw)
    last = draw.choice([first, last])
    db.execute("DELETE FROM stored_events WHERE rowid BETWEEN ? AND ?", (first, last))


def removed_and_closed_up(draw: random.Random, db: Sql) -> None:
    position = row(draw)
    db.execute("DELETE FROM stored_events WHERE rowid = ?", (position,))
    move(db, position, -1)


def cut_off(draw: random.Random, db: Sql) -> None:
    db.execute("DELETE FROM stored_events WHERE rowid >= ?", (row(draw),))


def inserted(draw: random.Random, db: Sql) -> None:
    """Between others, or where no event ever was."""
    position = draw.choice([row(draw), 0, -draw.randint(1, 2**62)])
    if position > 0:
        move(db, position, 1)
    stored, _ = draw.choice(EVENTS)
    values = (position, f"{draw.getrandbits(128):032x}", 1, stored.topic, stored.state)
    db.execute(
        "INSERT INTO stored_events (rowid, originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?, ?)",
        values,
    )


def reordered(draw: random.Random, db: Sql) -> None:
    first, second = two_rows(draw)
    for was, now in ((first, -1), (second, first), (-1, second)):
        db.execute("UPDATE stored_events SET rowid = ? WHERE rowid = ?", (now, was))


def exchanged(draw: random.Random, db: Sql) -> None:
    """The content of two events of one type."""
    first, second = two_rows(draw)
    found = dict(db.execute("SELECT rowid, state FROM stored_events WHERE rowid IN (?, ?)", (first, second)))
    assert found[first] != found[second]
    for position, other in ((first, second), (second, first)):
        db.execute("UPDATE stored_events SET state = ? WHERE rowid = ?", (found[other], position))


def moved_away(draw: random.Random, db: Sql) -> None:
    db.execute("UPDATE stored_events SET rowid = ? WHERE rowid = ?", (-draw.randint(0, 2**62), row(draw)))


def move(db: Sql, beyond: int, step: int) -> None:
    """The positions of all from one on."""
    db.execute("UPDATE stored_events SET rowid = -rowid - 1000 WHERE rowid >= ?", (beyond,))
    db.execute("UPDATE stored_events SET rowid = -(rowid + 1000) + ? WHERE rowid <= -1000", (step,))


# -- of the checkpoints -----------------------------------------------------------------------------------------------


def another_letter(draw: random.Random, lines: Lines) -> None:
    number = draw.randrange(len(lines))
    line = bytearray(lines[number])
    line[draw.randrange(len(line))] ^= draw.randint(1, 255)
    lines[number] = bytes(line)


def a_line_removed(draw: random.Random, lines: Lines) -> None:
    del lines[draw.randrange(len(lines) - 1)]


def the_first_lines_removed(draw: random.Random, lines: Lines) -> None:
    del lines[: draw.randint(1, len(lines))]


def a_line_twice(draw: random.Random, lines: Lines) -> None:
    lines.insert(draw.randrange(len(lines)), draw.choice(lines))


def lines_reordered(draw: random.Random, lines: Lines) -> None:
    first, second = draw.sample(range(len(lines)), 2)
    lines[first], lines[second] = lines[second], lines[first]


def signed_by_another(draw: random.Random, lines: Lines) -> None:
    """A whole chain over a log that says something else, by somebody without the key, who claims to have it."""
    other = SigningKey.new()
    lines.clear()
    last: Checkpoint | None = None
    for begin in range(0, SEALED, EVERY):
        last = sealed(last, EVENTS[begin : begin + EVERY], other, AT)
        claimed = last.line.replace(other.public.id.encode(), KEY.public.id.encode())
        lines.append(draw.choice([claimed, last.line]))


def numbers_lowered(draw: random.Random, lines: Lines) -> None:
    """To hide that one is missing."""
    gone = draw.randrange(len(lines) - 1)
    del lines[gone]
    for number in range(gone, len(lines)):
        lines[number] = lines[number].replace(b'"number":%d,' % (number + 2), b'"number":%d,' % (number + 1))


LOG: Sequence[Callable[[random.Random, Sql], None]] = [
    another_byte, another_word, another_column, another_form, removed, removed_and_closed_up, cut_off, inserted,
    reordered, exchanged, moved_away,
]  # fmt: skip
FOLDER: Sequence[Callable[[random.Random, Lines], None]] = [
    another_letter, a_line_removed, the_first_lines_removed, a_line_twice, lines_reordered, signed_by_another,
    numbers_lowered,
]  # fmt: skip


# -- found ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log that nobody has touched."""
    path = tmp_path_factory.mktemp("log") / "events.db"
    log = SqliteLog(path, 2)
    log.open()
    with log.appending() as session:
        session.insert([stored for stored, _ in EVENTS])
    log.close()
    return path


def verified(path: Path, lines: Lines) -> dict[str, Any]:
    log = SqliteLog(path, 2)
    log.open()
    try:
        numbered = [Line(line, f"line {number}") for number, line in enumerate(lines, 1)]
        return verify_log(log, numbered, KEYS, "the log")
    finally:
        log.close()


def tampered(draw: random.Random, db: Sql, lines: Lines) -> str:
    change: Any = draw.choice([*LOG, *FOLDER])
    change(draw, db if change in LOG else lines)
    return str(change.__name__)


def test_what_nobody_touched_is_found_to_be_so(intact: Path) -> None:
    body = verified(intact, [one.line for one in CHECKPOINTS])
    assert (body["ok"], body["listed"]) == (True, [])
    assert (body["events"], body["sealed_events"]) == (len(EVENTS), SEALED)
    assert body["unsealed_events"] == len(EVENTS) - SEALED > 0


@pytest.mark.timeout(600)
def test_every_tampering_is_found(intact: Path, tmp_path: Path) -> None:
    seen: dict[str, int] = {}
    for seed in range(RUNS):
        draw, lines, path = random.Random(seed), [one.line for one in CHECKPOINTS], tmp_path / "events.db"
        shutil.copyfile(intact, path)
        with closing(sqlite3.connect(path)) as db, db:
            name = tampered(draw, db, lines)
        body = verified(path, lines)
        assert not body["ok"], f"seed {seed}, {name}: not found"
        seen[name] = seen.get(name, 0) + 1
        for left in tmp_path.iterdir():
            left.unlink()
    assert RUNS < 1000 or len(seen) == len(LOG) + len(FOLDER)
