"""`app-manager audit verify` and `public-key`, as operators have them (contract cli.md 5)."""

import asyncio
import os
import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import orjson
import pytest

from domain.ports import Append
from infra.checkpoints import CheckpointFolder
from infra.event_log import EventStore, open_event_log
from infra.log_database import StoredAt
from infra.seals import Checkpoint, sealed
from tests.builders import some_applications
from tests.command_line import Shell
from tests.evidence import AT, KEY, SIGNING_KEY

EVENTS = 40


@pytest.fixture
async def operator(shell: Shell, event_store_url: str) -> Shell:
    """A log of so many submissions, of which all but the last 5 are sealed, 7 at a time."""
    key, folder = shell.home / "key.pem", shell.home / "audit"
    key.write_text(SIGNING_KEY)
    async with open_event_log(event_store_url) as store:
        await store.log.append(Append([one for story in some_applications(EVENTS) for one in story.recorded()]))
        await seal(store, folder)
    return shell.where(
        EVENT_STORE=event_store_url, AUDIT_SIGNING_KEY=str(key), AUDIT_CHECKPOINT_DIR=str(folder), TZ="UTC"
    )


async def seal(store: EventStore, path: Path) -> None:
    folder, position = CheckpointFolder(path), 0
    while len(events := await store.stored.read(position, 7)) == 7:
        await asyncio.to_thread(folder.append, partial(sealed_next, events))
        position = events[-1][1]


def sealed_next(events: Sequence[StoredAt], last: Checkpoint | None) -> Checkpoint:
    return sealed(last, events, KEY, AT)


def path_of(operator: Shell) -> Path:
    return Path(operator.exported["EVENT_STORE"].removeprefix("sqlite:///"))


SQLITE_ONLY = pytest.mark.parametrize("event_store_url", ["sqlite"], indirect=True)  # its file is changed


# -- verify -----------------------------------------------------------------------------------------------------------


async def test_a_log_that_nobody_touched(operator: Shell) -> None:
    done = (await operator.runs("audit", "verify")).ended_well()
    assert done.stdout.splitlines() == [
        f"the log: {EVENTS} events in {EVENTS} streams, up to position {EVENTS}",
        "35 are as 5 checkpoints sealed them",
        "5 are not sealed since the last checkpoint, 2026-01-01 12:00:00",
        "nothing is wrong",
    ]
    body = (await operator.runs("audit", "verify", "--json")).ended_well().json
    assert (body["ok"], body["problems"], body["listed"]) == (True, 0, [])
    assert (body["sealed_events"], body["unsealed_events"], body["sealed_until"]) == (35, 5, 35)


@SQLITE_ONLY
async def test_what_was_changed_is_listed(operator: Shell) -> None:
    with closing(sqlite3.connect(path_of(operator))) as db, db:
        db.execute("UPDATE stored_events SET state = CAST(replace(state, 'Baker', 'Joker') AS BLOB) WHERE rowid = 3")
        db.execute("DELETE FROM stored_events WHERE rowid = 20")
        db.execute("UPDATE stored_events SET state = 'x' WHERE rowid = 30")
    done = await operator.runs("audit", "verify")
    assert (done.code, done.stderr) == (1, "Error: 4 problems were found in the log\n")
    assert "positions 1 to 7: the events are not those that checkpoint 1 sealed" in done.stdout
    assert "positions 15 to 21: checkpoint 3 sealed 7 events, there are 6" in done.stdout
    assert "positions 29 to 35: the events are not those that checkpoint 5 sealed" in done.stdout
    assert "position 30: 'application.submitted' cannot be read" in done.stdout
    assert "21 are as 5 checkpoints sealed them" not in done.stdout
    assert "14 are as 5 checkpoints sealed them" in done.stdout
    body = orjson.loads((await operator.runs("audit", "verify", "--json")).stdout)
    assert (body["ok"], body["problems"], len(body["listed"])) == (False, 4, 4)


@SQLITE_ONLY
async def test_a_log_that_was_cut_off_is_found(operator: Shell) -> None:
    with closing(sqlite3.connect(path_of(operator))) as db, db:
        db.execute("DELETE FROM stored_events WHERE rowid > 28")
    done = await operator.runs("audit", "verify")
    assert done.code == 1
    assert "positions 29 to 35: checkpoint 5 sealed 7 events, there are 0" in done.stdout


async def test_a_log_without_checkpoints_proves_nothing(operator: Shell, tmp_path: Path) -> None:
    done = await operator.runs("audit", "verify", AUDIT_CHECKPOINT_DIR=str(tmp_path / "elsewhere"))
    assert done.code == 1
    assert "there are no checkpoints: nothing tells whether the log is as it was written" in done.stdout


async def test_an_empty_log_is_whole(shell: Shell, event_store_url: str) -> None:
    (shell.home / "key.pem").write_text(SIGNING_KEY)
    async with open_event_log(event_store_url):
        pass
    done = await shell.runs("audit", "verify", EVENT_STORE=event_store_url, AUDIT_SIGNING_KEY="key.pem")
    assert done.ended_well().stdout.splitlines()[-1] == "nothing is wrong"


# -- keys -------------------------------------------------------------------------------------------------------------


async def test_the_public_key_is_enough_to_check(operator: Shell, tmp_path: Path) -> None:
    printed = (await operator.runs("audit", "public-key")).ended_well().stdout
    assert printed == KEY.public.pem
    (tmp_path / "public.pem").write_text(printed)
    done = await operator.runs("audit", "verify", "--public-key", "public.pem", AUDIT_SIGNING_KEY="nowhere.pem")
    assert done.ended_well().stdout.splitlines()[-1] == "nothing is wrong"
    body = (await operator.runs("audit", "public-key", "--json")).ended_well().json
    assert body == {"key_id": KEY.public.id, "public_key": KEY.public.pem}


async def test_without_a_key_nothing_is_checked(operator: Shell) -> None:
    done = await operator.runs("audit", "verify", AUDIT_SIGNING_KEY="nowhere.pem")
    assert done.failed("no key to check the checkpoints with: --public-key FILE, or AUDIT_SIGNING_KEY") == []
    assert (await operator.runs("audit", "verify", "--public-key", "nowhere.pem")).failed(
        "nowhere.pem cannot be read: No such file or directory"
    ) == []
    assert (await operator.runs("audit", "public-key", AUDIT_SIGNING_KEY="nowhere.pem")).failed(
        "nowhere.pem cannot be read: No such file or directory"
    ) == []


async def test_another_key_checks_nothing(operator: Shell, tmp_path: Path) -> None:
    other = (await operator.runs("audit", "public-key", AUDIT_SIGNING_KEY="")).ended_well().stdout
    assert (tmp_path / ".data" / "audit-signing-key.pem").exists(), "made on first use"
    (tmp_path / "other.pem").write_text(other)
    done = await operator.runs("audit", "verify", "--public-key", "other.pem")
    assert done.code == 1
    assert done.stdout.count(f"is signed with an unknown key, {KEY.public.id}") == 5
    (tmp_path / "both.pem").write_text(other + KEY.public.pem)
    assert (await operator.runs("audit", "verify", "--public-key", "both.pem")).code == 0


# -- as a person uses it ----------------------------------------------------------------------------------------------


async def test_on_a_terminal_it_shows_how_far_it_is(operator: Shell) -> None:
    async with operator.terminal("audit", "verify") as terminal:
        await terminal.shows("nothing is wrong")
        assert await terminal.ends() == 0


@SQLITE_ONLY
async def test_ctrl_c_ends_it(operator: Shell) -> None:
    """In the middle of a log that does not end soon."""
    with closing(sqlite3.connect(path_of(operator))) as db, db:
        db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) "
            "INSERT INTO stored_events (originator_id, originator_version, topic, state) "
            "SELECT originator_id, 100 + i, topic, state FROM n, stored_events WHERE stored_events.rowid = 1"
        )
    async with operator.terminal("audit", "verify") as terminal:
        await terminal.shows("Verify")
        os.kill(terminal.process.pid, signal.SIGINT)
        assert await terminal.ends() == 130, terminal.seen
    assert "Traceback" not in terminal.seen
