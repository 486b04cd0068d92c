"""Building Excel files beside the API: what it may cost, and that it leaves nothing behind (contract http.md 8.3)."""

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook
from xlsxwriter.exceptions import FileCreateError

from api import excel_program
from api.excel_builds import PROGRAM, ExcelBuilds, ExcelLimits, TooMuchForExcel
from api.excel_program import NO_ROOM, TOO_LARGE
from api.export_rows import Row
from domain.errors import Overloaded, ReadModelBehind
from infra.bounded_process import BoundedProcess
from tests.processes import children_running, is_alive, until

ROW = ["a1", "Xing", "Baker", "Crumb & Co", "Graz", "success", "2026-03-02T12:00:00Z", "2026-03-02T12:00:05Z", ""]
LONG = [ROW[0], *["x" * 2_000] * 4, *ROW[5:]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files of these tests go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


async def pages(*given: Sequence[Row]) -> AsyncIterator[Sequence[Row]]:
    for page in given:
        yield page


async def held(go_on: asyncio.Event) -> AsyncIterator[Sequence[Row]]:
    """A page, and another one once it is let go on."""
    yield [ROW]
    await go_on.wait()
    yield [ROW]


async def failing() -> AsyncIterator[Sequence[Row]]:
    yield [ROW]
    raise ReadModelBehind("dropped")


def nothing_is_left(folder: Path) -> bool:
    return not children_running(PROGRAM) and not list(folder.iterdir())


async def test_a_file_is_open_has_no_name_and_needs_no_process_any_more(folder: Path) -> None:
    with await ExcelBuilds().build(pages([ROW] * 3, [ROW]), 4) as file:
        assert nothing_is_left(folder)
        sheet = load_workbook(file).worksheets[0]
    assert [[cell.value for cell in row] for row in sheet.iter_rows(min_row=2)] == [[*ROW[:8], None]] * 4


async def test_it_is_built_in_a_process_that_knows_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "not for a file")
    go_on = asyncio.Event()
    building = asyncio.create_task(ExcelBuilds().build(held(go_on), 2))
    await until(lambda: children_running(PROGRAM))
    [process] = children_running(PROGRAM)
    assert b"SECRET_KEY" not in Path(f"/proc/{process}/environ").read_bytes()
    go_on.set()
    (await building).close()


async def test_a_row_too_many_ends_it(folder: Path) -> None:
    (await ExcelBuilds().build(pages([ROW] * 2, [ROW]), 3)).close()
    with pytest.raises(TooMuchForExcel):
        await ExcelBuilds().build(pages([ROW] * 2, [ROW] * 2), 3)
    assert nothing_is_left(folder)


async def test_what_takes_too_long_is_given_up(folder: Path) -> None:
    with pytest.raises(Overloaded, match="1 s"):
        await ExcelBuilds(ExcelLimits(build_seconds=1)).build(held(asyncio.Event()), 9)
    assert nothing_is_left(folder)


async def test_what_needs_too_much_memory_is_given_up(folder: Path) -> None:
    with pytest.raises(Overloaded, match="no room"):
        await ExcelBuilds(ExcelLimits(memory=160 * 2**20)).build(pages([LONG] * 10_000), 10_000)
    assert nothing_is_left(folder)


async def test_what_needs_too_large_files_is_too_much_for_excel(folder: Path) -> None:
    builds = ExcelBuilds(ExcelLimits(file_bytes=2**20))
    with pytest.raises(TooMuchForExcel):
        await builds.build(pages(*[[LONG] * 50] * 100), 5_000)
    assert nothing_is_left(folder)
    (await builds.build(pages([LONG] * 50), 50)).close()


@pytest.mark.parametrize(
    ("number", "word"), [(errno.ENOSPC, NO_ROOM), (errno.EDQUOT, NO_ROOM), (errno.EFBIG, TOO_LARGE)]
)
@pytest.mark.parametrize("wrap", [lambda error: error, FileCreateError])
def test_a_full_disk_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch, number: int, word: str, wrap: Callable[[Exception], Exception]
) -> None:
    def build(*_: object) -> None:
        raise wrap(OSError(number, "no"))

    monkeypatch.setattr(excel_program, "build", build)
    assert excel_program._tried(Path()) == word


async def test_rows_that_cannot_be_read_end_it(folder: Path) -> None:
    with pytest.raises(ReadModelBehind):
        await ExcelBuilds().build(failing(), 9)
    assert nothing_is_left(folder)


async def test_rows_that_cannot_be_written_are_a_fault_that_says_which(folder: Path) -> None:
    with pytest.raises(RuntimeError, match="KeyError: 'pending'"):
        await ExcelBuilds().build(pages([[*ROW[:5], "pending", *ROW[6:]]]), 9)
    assert nothing_is_left(folder)


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_killed_program_fails_its_own_build_only(folder: Path, *, stopped: bool) -> None:
    builds, go_on = ExcelBuilds(ExcelLimits(at_once=1)), asyncio.Event()
    building = asyncio.create_task(builds.build(held(go_on), 9))
    await until(lambda: children_running(PROGRAM))
    if stopped:
        os.kill(children_running(PROGRAM)[0], signal.SIGSTOP)
    os.kill(children_running(PROGRAM)[0], signal.SIGKILL)
    go_on.set()
    with pytest.raises(EOFError):
        await building
    assert nothing_is_left(folder)
    (await builds.build(pages([ROW]), 1)).close()


@pytest.mark.parametrize("hangs", [False, True])
async def test_who_gives_up_leaves_nothing(folder: Path, *, hangs: bool) -> None:
    building = asyncio.create_task(ExcelBuilds().build(held(asyncio.Event()), 9))
    await until(lambda: children_running(PROGRAM))
    if hangs:
        os.kill(children_running(PROGRAM)[0], signal.SIGSTOP)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert nothing_is_left(folder)


async def test_who_gives_up_at_once_leaves_nothing(folder: Path) -> None:
    """At whatever step of its start."""
    for turns in range(12):
        building = asyncio.create_task(ExcelBuilds().build(held(asyncio.Event()), 9))
        for _ in range(turns):
            await asyncio.sleep(0.002)
        building.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await building
        await until(lambda: nothing_is_left(folder))


# -- how many at once -------------------------------------------------------------------------------------------------


async def test_so_many_are_built_at_once_and_so_many_wait() -> None:
    builds = ExcelBuilds(ExcelLimits(at_once=2, waiting=1))
    go_on = asyncio.Event()
    building = [asyncio.create_task(builds.build(held(go_on), 9)) for _ in range(3)]
    await until(lambda: len(children_running(PROGRAM)) == 2)
    with pytest.raises(Overloaded):
        await builds.build(pages([ROW]), 9)
    assert len(children_running(PROGRAM)) == 2
    go_on.set()
    for file in await asyncio.gather(*building):
        file.close()
    (await builds.build(pages([ROW]), 9)).close()


async def test_nobody_waits_for_ever() -> None:
    builds, go_on = ExcelBuilds(ExcelLimits(at_once=1, wait_seconds=0.1)), asyncio.Event()
    building = asyncio.create_task(builds.build(held(go_on), 9))
    await until(lambda: children_running(PROGRAM))
    for _ in range(2):
        with pytest.raises(Overloaded):
            await builds.build(pages([ROW]), 9)
    go_on.set()
    (await building).close()


async def test_a_failed_build_frees_its_place() -> None:
    builds = ExcelBuilds(ExcelLimits(at_once=1, wait_seconds=0.1))
    for _ in range(3):
        with pytest.raises(ReadModelBehind):
            await builds.build(failing(), 9)
    (await builds.build(pages([ROW]), 9)).close()


# -- killed -----------------------------------------------------------------------------------------------------------

API = """
import asyncio, sys, tempfile
from api.excel_builds import ExcelBuilds

tempfile.tempdir = sys.argv[1]
ROW = ["a"] * 5 + ["success"] + ["b"] * 3

async def pages():
    for _ in range(int(sys.argv[2])):
        yield [ROW] * 1000
    await asyncio.Event().wait() if sys.argv[2] == "1" else None

asyncio.run(ExcelBuilds().build(pages(), 10**6))
"""


@pytest.mark.parametrize("thousands", [1, 10], ids=["while it waits for rows", "while it packs the file"])
async def test_a_program_whose_api_is_killed_ends_and_removes_its_files(folder: Path, thousands: int) -> None:
    api = await asyncio.create_subprocess_exec(sys.executable, "-c", API, str(folder), str(thousands))
    try:
        await until(lambda: children_running(PROGRAM, api.pid))
        [orphan] = children_running(PROGRAM, api.pid)
        await until(lambda: list(folder.glob("*/applications.xlsx" if thousands > 1 else "*/*")))
    finally:
        api.kill()
        await api.wait()
    await until(lambda: not is_alive(orphan))
    assert not list(folder.iterdir())


async def test_a_program_that_nobody_stops_ends_in_time_and_removes_its_files(folder: Path) -> None:
    (work := folder / "work").mkdir()
    process = await BoundedProcess.start(PROGRAM, work, 1, 2**29, 2**20)
    try:
        await until(lambda: process.has_ended)
        assert not work.exists()
    finally:
        await process.stop()


async def test_a_folder_that_was_given_up_while_it_was_made_is_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on, make = threading.Event(), threading.Event(), tempfile.TemporaryDirectory

    def slowly(**options: Any) -> tempfile.TemporaryDirectory[str]:
        asked.set()
        go_on.wait()
        return make(**options)

    monkeypatch.setattr(tempfile, "TemporaryDirectory", slowly)
    building = asyncio.create_task(ExcelBuilds().build(pages([ROW]), 9))
    await until(asked.is_set)
    building.cancel()
    await asyncio.wait([building], timeout=0.05)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert nothing_is_left(folder)


async def test_what_is_left_of_killed_ones_is_removed_by_the_next_build(folder: Path) -> None:
    left, in_use, young, foreign = (folder / f"app-manager-{name}" for name in ("excel-1", "excel-2", "excel-3", "x-4"))
    for one in (left, in_use, young, foreign):
        one.mkdir()
        (one / "sheet").touch()
        if one is not young:
            os.utime(one, (1, 1))
    lock = os.open(in_use, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        (await ExcelBuilds().build(pages([ROW]), 9)).close()
    finally:
        os.close(lock)
    assert sorted(folder.iterdir()) == sorted([in_use, young, foreign])
