"""The SQLite log as a file: who may read it, opening a new one beside others, and closing it while a call works."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from domain.errors import StoreTimeout, StoreUnavailable
from infra.event_log import open_event_log
from infra.log_database import Session
from infra.sqlite_log import SqliteLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    log = SqliteLog(tmp_path / "events.db", 2)
    log.open()
    yield log
    log.close()


def test_only_its_owner_reads_it(log: SqliteLog, tmp_path: Path) -> None:
    with log.writing() as session:
        session.execute("CREATE TABLE one (number INTEGER)")
    names = ("events.db", "events.db-wal", "events.db-shm")
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == dict.fromkeys(names, 0o600)


def test_a_new_file_that_another_process_just_makes_is_waited_for(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "events.db", 2)
    with (
        closing(sqlite3.connect(tmp_path / "events.db", check_same_thread=False)) as other,
        ThreadPoolExecutor(1) as one,
    ):
        other.execute("BEGIN IMMEDIATE")
        opening = one.submit(log.open)
        with pytest.raises(TimeoutError):
            opening.result(0.2)
        other.rollback()
        opening.result(5)
    log.close()


def test_a_connection_at_work_is_not_closed_under_its_user(log: SqliteLog) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work() -> object:
        with log.writing() as session:
            begun.set()
            go_on.wait(10)
            return session.execute("SELECT count(*) FROM stored_events")

    with ThreadPoolExecutor(2) as threads:
        working = threads.submit(work)
        assert begun.wait(10)
        closing = threads.submit(log.close)
        with pytest.raises(TimeoutError):
            closing.result(0.1)
        go_on.set()
        assert working.result(10) == [(0,)]
        closing.result(10)


def test_who_waits_in_vain_for_the_one_writer_is_told_that_it_took_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.sqlite_log.LOCK_TIMEOUT_SECONDS", 0.2)
    log = SqliteLog(tmp_path / "events.db", 2)
    log.open()
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        with log.writing():
            begun.set()
            go_on.wait(10)

    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(work)
        assert begun.wait(10)
        with pytest.raises(StoreTimeout), log.writing():
            pass
        go_on.set()
        working.result(10)
    log.close()


def test_a_closed_log_is_away(log: SqliteLog) -> None:
    log.close()
    with pytest.raises(StoreUnavailable):
        log.head()
    with pytest.raises(StoreUnavailable), log.appending():
        pass


async def test_what_was_cancelled_is_still_committed_before_the_log_closes(tmp_path: Path) -> None:
    url, begun, go_on = f"sqlite:///{tmp_path}/events.db", threading.Event(), threading.Event()

    def work(session: Session) -> None:
        begun.set()
        go_on.wait(10)
        session.execute("CREATE TABLE beside (one INTEGER)")

    async with open_event_log(url) as store:
        working = asyncio.create_task(store.database.transaction(work))
        await asyncio.to_thread(begun.wait, 10)
        working.cancel()
        await asyncio.wait([working])
        asyncio.get_running_loop().call_later(0.05, go_on.set)
    async with open_event_log(url) as store:
        assert await store.database.transaction(lambda session: session.execute("SELECT * FROM beside")) == []
