"""`app-manager audit export`, and `verify --export` of what it wrote (contract cli.md 5)."""

import asyncio
import os
import random
import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import orjson
import pytest
from eventsourcing.persistence import StoredEvent

from api.cli.audit.jsonl import event_line, read_event
from api.cli.audit.offline import verify_export
from domain.ports import Append
from infra.event_log import open_event_log
from infra.seals import canonical
from tests.builders import an_application, some_applications
from tests.command_line import Shell
from tests.contract.test_cli_5_verify import seal
from tests.evidence import KEY, SIGNING_KEY, stored_events

BOB = an_application(UUID(int=7), "bob").submitted().started().attempted(1).applied(1).succeeded()
EVENTS, OF_BOB = 46, 6
SEALED = 42
TAMPERINGS = int(os.environ.get("TAMPERINGS", "1000")) // 4
OFFLINE = {"EVENT_STORE": "postgresql://nobody:nothing@127.0.0.1:1/nowhere", "AUDIT_CHECKPOINT_DIR": ""}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def operator(shell: Shell, sqlite_url: str) -> Shell:
    """A log of 40 submissions of ada's and a whole application of bob's, all but the last four events sealed."""
    key, folder = shell.home / "key.pem", shell.home / "audit"
    async with open_event_log(sqlite_url) as store:
        await store.log.append(Append([one for story in some_applications(40) for one in story.recorded()]))
        await store.log.append(Append(BOB.recorded()))
        await seal(store, folder)
    await asyncio.to_thread(key.write_text, SIGNING_KEY)
    await asyncio.to_thread((shell.home / "public.pem").write_text, KEY.public.pem)
    return shell.where(EVENT_STORE=sqlite_url, AUDIT_SIGNING_KEY=str(key), AUDIT_CHECKPOINT_DIR=str(folder))


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def positions(lines: Sequence[dict[str, Any]]) -> list[int]:
    return [line["position"] for line in lines if "position" in line]


async def exported(operator: Shell, *options: str) -> list[dict[str, Any]]:
    (await operator.runs("audit", "export", *options, "-o", "log.jsonl")).ended_well()
    return await asyncio.to_thread(lines_of, operator.home / "log.jsonl")


# -- what is exported -------------------------------------------------------------------------------------------------


async def test_the_whole_log_is_exported(operator: Shell) -> None:
    done = (await operator.runs("audit", "export", "-o", "log.jsonl")).ended_well()
    assert done.stdout == f"Exported {EVENTS} events to log.jsonl\n"
    first, *more, last = lines_of(operator.home / "log.jsonl")
    assert (first["complete"], first["from"], first["user"]) == (True, None, None)
    assert positions(more) == list(range(1, EVENTS + 1))
    assert more[EVENTS - 1]["type"] == "application.succeeded"
    assert more[EVENTS - 1]["event"]["metadata"]["owner"]["user_id"] == "bob"
    assert [line["checkpoint"]["position"] for line in more if "checkpoint" in line] == [7, 14, 21, 28, 35, 42]
    assert last == {"end": {"events": EVENTS, "position": EVENTS}}
    assert sorted(file.name for file in operator.home.iterdir() if "jsonl" in file.name) == ["log.jsonl"]


async def test_without_a_file_it_goes_to_standard_output(operator: Shell) -> None:
    await exported(operator)
    for options in ([], ["-o", "-"]):
        done = (await operator.process("audit", "export", *options)).ended_well()
        assert done.stdout.encode() == (operator.home / "log.jsonl").read_bytes()
    done = await operator.line("app-manager audit export | head -n 1")
    assert orjson.loads(done.stdout)["complete"]


PARTS = [
    (["--from", "44"], {"from": 44}, [44, 45, 46]),
    (["--to", "2"], {"to": 2}, [1, 2]),
    (["--from", "3", "--to", "4"], {"from": 3, "to": 4}, [3, 4]),
    (["--from", "1"], {}, list(range(1, EVENTS + 1))),
    (["--user", "bob"], {"user": "bob"}, list(range(41, EVENTS + 1))),
    (["--user", "nobody"], {"user": "nobody"}, []),
    (["--type", "application.job_applied"], {"type": "application.job_applied"}, [45]),
    (["--user", "bob", "--from", "45"], {"user": "bob", "from": 45}, [45, 46]),
    (["--to", "2026-01-01T12:02:00Z"], {"to": EVENTS}, list(range(1, EVENTS + 1))),  # bob's were early, and came late
    (["--to", "2026-01-01T11:59:59Z"], {"to": 0}, []),
    (["--from", "2026-01-01T12:39:00.001Z"], {"from": 47}, []),
    (["--from", "2026-01-01T13:39:00+01:00"], {"from": 47}, []),
]


@pytest.mark.parametrize(("options", "told", "found"), PARTS)
async def test_a_part_says_so_in_its_first_line(
    operator: Shell, options: list[str], told: dict[str, Any], found: list[int]
) -> None:
    first, *more = await exported(operator, *options)
    assert positions(more) == found
    assert {key: first[key] for key in ("from", "to", "user", "type") if first[key] is not None} == told
    assert first["complete"] == (not told)
    done = (await operator.runs("audit", "verify", "--export", "log.jsonl")).ended_well()
    assert ("this is a part of the log" in done.stdout) == bool(told)


@pytest.mark.parametrize(
    "options",
    [["--from", "nonsense"], ["--to", "-1"], ["--type", "application.sumbitted"], ["--from"], ["--limit", "3"]],
)
async def test_bad_usage(operator: Shell, options: list[str]) -> None:
    done = await operator.runs("audit", "export", *options)
    assert (done.code, done.stdout) == (2, "")


async def test_what_cannot_be_exported_is_one_line(operator: Shell) -> None:
    beyond = await operator.runs("audit", "export", "--to", "47")
    assert beyond.failed("position 47 is beyond the newest event, 46") == []
    assert (await operator.runs("audit", "export", "--from", "9", "--to", "8")).failed("--from is after --to") == []
    nowhere = await operator.runs("audit", "export", "-o", "no/folder.jsonl")
    assert nowhere.failed("no/folder.jsonl cannot be written: No such file or directory") == []
    folder = await operator.runs("audit", "export", "-o", "audit")
    assert folder.failed("audit cannot be written: it is no ordinary file") == []
    full = await operator.line("app-manager audit export >/dev/full")
    assert full.failed("standard output cannot be written: No space left on device") == []


# -- interrupted ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bytes_left", [0, 1, 50, 100, 150, 1_000, 10_000, 20_000, 10**9])
async def test_an_export_goes_on_where_it_was_interrupted(operator: Shell, bytes_left: int) -> None:
    await exported(operator)
    whole = (operator.home / "log.jsonl").read_bytes()
    (operator.home / "log.jsonl").unlink()
    (operator.home / "log.jsonl.part").write_bytes(whole[:bytes_left])
    done = (await operator.runs("audit", "export", "-o", "log.jsonl")).ended_well()
    assert ("going on" in done.stdout) == (bytes_left > 110)
    assert (operator.home / "log.jsonl").read_bytes() == whole
    assert not (operator.home / "log.jsonl.part").exists()


async def test_another_export_begins_anew(operator: Shell) -> None:
    await exported(operator, "--user", "bob")
    (operator.home / "log.jsonl").rename(operator.home / "log.jsonl.part")
    first, *more = await exported(operator)
    assert (first["user"], len(positions(more))) == (None, EVENTS)


async def test_ctrl_c_keeps_what_was_exported(operator: Shell, sqlite_url: str) -> None:
    """Of a log that is long enough to be met in the middle."""
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as db, db:
        db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) "
            "INSERT INTO stored_events (originator_id, originator_version, topic, state) "
            "SELECT originator_id, 100 + i, topic, state FROM n, stored_events WHERE stored_events.rowid = 1"
        )
    async with operator.terminal("audit", "export", "-o", "log.jsonl") as terminal:
        await terminal.shows("Export")
        part = operator.home / "log.jsonl.part"
        while not part.exists() or part.stat().st_size < 100_000:
            await asyncio.sleep(0.01)
        os.kill(terminal.process.pid, signal.SIGINT)
        assert await terminal.ends() == 130
    assert "log.jsonl.part stays: the same command goes on there" in terminal.seen
    assert "Traceback" not in terminal.seen
    done = (await operator.process("audit", "export", "-o", "log.jsonl")).ended_well()
    assert done.stdout == "Exported 300046 events to log.jsonl, going on where it was interrupted\n"
    assert positions(lines_of(operator.home / "log.jsonl")) == list(range(1, 300_047))


# -- verified elsewhere -----------------------------------------------------------------------------------------------


async def test_an_export_is_checked_without_any_server(operator: Shell) -> None:
    await exported(operator)
    arguments = ("audit", "verify", "--export", "log.jsonl", "--public-key", "public.pem")
    done = (await operator.process(*arguments, **OFFLINE, AUDIT_SIGNING_KEY="nowhere.pem")).ended_well()
    assert done.stdout.splitlines() == [
        f"log.jsonl: {EVENTS} events in 41 streams, up to position {EVENTS}",
        f"{SEALED} are as 6 checkpoints sealed them",
        "4 are not sealed since the last checkpoint, 2026-01-01 12:00:00",
        "nothing is wrong",
    ]


async def test_a_range_is_held_against_the_checkpoints_in_it(operator: Shell) -> None:
    await exported(operator, "--from", "10", "--to", "40")
    body = (await operator.runs("audit", "verify", "--export", "log.jsonl", "--json", **OFFLINE)).ended_well().json
    assert (body["skipped_events"], body["sealed_events"], body["unsealed_events"]) == (5, 21, 5)
    assert body["part"] == "from position 10, to position 40"


async def test_a_copy_of_the_checkpoints_finds_what_was_cut_off_with_them(operator: Shell) -> None:
    await exported(operator)
    lines = (operator.home / "log.jsonl").read_bytes().splitlines(keepends=True)
    kept = [line for line in lines[1:-1] if b'"position":4' not in line[:15] and b'"position":42' not in line]
    cut = [lines[0], *kept, lines[-1].replace(b'"events":46', b'"events":%d' % (len(kept) - 5))]
    (operator.home / "cut.jsonl").write_bytes(b"".join(line for line in cut if not line.startswith(b'{"position":3')))
    done = await operator.runs("audit", "verify", "--export", "cut.jsonl")
    assert done.code == 1
    assert "checkpoint 6 sealed 7 events, there are" in done.stdout


async def test_a_file_that_is_no_export_is_one_line(operator: Shell) -> None:
    (operator.home / "other.jsonl").write_text('{"a": 1}\n')
    done = await operator.runs("audit", "verify", "--export", "other.jsonl", **OFFLINE)
    assert done.failed("other.jsonl: the first line is not that of an export") == []
    done = await operator.runs("audit", "verify", "--export", "nowhere.jsonl", **OFFLINE)
    assert done.failed("nowhere.jsonl cannot be read: No such file or directory") == []


def tampered(draw: random.Random, lines: list[bytes]) -> None:
    """Events are the lines 1 to 42 that are sealed; behind those that are not come the checkpoints."""
    number, other = draw.sample(range(1, SEALED + 1), 2)
    match draw.choice(["byte", "gone", "twice", "moved", "swapped", "checkpoint", "end", "cut"]):
        case "byte":
            line = bytearray(lines[number])
            line[draw.randrange(len(line))] ^= draw.randint(1, 255)
            lines[number] = bytes(line)
        case "gone":
            del lines[number]
        case "twice":
            lines.insert(other, lines[number])
        case "moved":
            lines.insert(other, lines.pop(number))
        case "swapped":
            lines[number], lines[other] = lines[other], lines[number]
        case "checkpoint":
            del lines[EVENTS + draw.randint(1, 5)]
        case "end":
            del lines[-1]
        case _:
            del lines[number : EVENTS + 1]


@pytest.mark.parametrize("part", range(4))
def test_every_tampering_with_an_export_is_found(operator: Shell, part: int) -> None:
    operator.run("audit", "export", "-o", "log.jsonl").ended_well()
    whole = (operator.home / "log.jsonl").read_bytes().splitlines()
    path = operator.home / "tampered.jsonl"
    for seed in range(part, TAMPERINGS, 4):
        lines = list(whole)
        tampered(random.Random(seed), lines)
        if lines == whole:
            continue
        path.write_bytes(b"\n".join(lines) + b"\n")
        body = verify_export(path, {KEY.public.id: KEY.public}, None)
        assert not body["ok"], f"seed {seed}: not found"


# -- lines ------------------------------------------------------------------------------------------------------------

[FIRST, *_] = stored_events(1)
ODD = [
    (replace(FIRST[0], state=b'{"v":1,\n"data":2}'), 5),
    (replace(FIRST[0], state=b'{"v":1}}'), 5),
    (replace(FIRST[0], state=b"\xff"), 5),
    (replace(FIRST[0], originator_version=cast(int, "3")), 5),
    (replace(FIRST[0], originator_id="no id"), 5),
    (replace(FIRST[0], topic='a"b'), 5),
    (replace(FIRST[0], topic=cast(str, None)), -5),
]


def test_an_event_is_read_back_byte_by_byte() -> None:
    for stored, position in stored_events(3):
        assert canonical(*read_event(event_line(stored, position))) == canonical(stored, position)


@pytest.mark.parametrize(("stored", "position"), ODD)
def test_whatever_somebody_has_stored_is_one_line_of_json(stored: StoredEvent, position: int) -> None:
    line = event_line(stored, position)
    assert b"\n" not in line
    assert orjson.loads(line)["position"] == position
    assert read_event(line)[1] == position
    assert canonical(*read_event(line)) != canonical(*FIRST)
