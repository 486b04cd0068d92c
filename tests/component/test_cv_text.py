"""Reading a CV's text: what a PDF may cost, and that none ever harms the worker (design 7)."""

import asyncio
import io
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pypdf import PdfWriter

from consumers.documents import cv_text
from consumers.documents.cv_text import PROGRAM, CvLimits, CvReader
from tests.pdfs import MARY, a_pdf, from_streams
from tests.processes import children_running, is_alive, seconds_worked

ENDLESS = from_streams(*[b"BT /F1 1 Tf " + b"() Tj " * 3_000_000 + b"ET"] * 20)  # keeps pypdf busy for a minute


@pytest.fixture
async def reader() -> AsyncIterator[CvReader]:
    async with CvReader(processes=1) as opened:
        yield opened


@asynccontextmanager
async def a_reader(**limits: int) -> AsyncIterator[CvReader]:
    async with CvReader(processes=1, limits=CvLimits(**limits)) as opened:
        yield opened


def children(parent: int | None = None) -> list[int]:
    """Process ids of the PDF readers that a process has started."""
    return children_running(PROGRAM, parent)


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_text_of_all_pages_is_read(reader: CvReader) -> None:
    text = await reader.text(a_pdf(MARY, ["Page two"]))
    assert text is not None
    assert text.splitlines() == [*MARY, "Page two"]


async def test_a_scan_has_no_text(reader: CvReader) -> None:
    assert await reader.text(a_pdf([], ["   "])) is None


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"%PDF-1.7\n",
        b"%PDF-1.7 " + bytes(range(256)) * 100,
        a_pdf(MARY)[:300],
        a_pdf(MARY).replace(b"/Pages", b"/Pugs"),
    ],
)
async def test_a_broken_pdf_has_no_text_and_the_next_one_is_read(reader: CvReader, broken: bytes) -> None:
    assert await reader.text(broken) is None
    assert await reader.text(a_pdf(["Fine"])) == "Fine"


async def test_a_locked_pdf_has_no_text_unless_it_opens_without_a_password(reader: CvReader) -> None:
    for password, expected in (("secret", None), ("", "Fine")):
        writer = PdfWriter(clone_from=io.BytesIO(a_pdf(["Fine"])))
        writer.encrypt(password, owner_password="owner", algorithm="AES-256")
        locked = io.BytesIO()
        writer.write(locked)
        assert await reader.text(locked.getvalue()) == expected


async def test_a_pdf_that_takes_too_long_is_given_up_and_the_next_one_is_read() -> None:
    async with a_reader(seconds=2, memory=4 * 2**30) as reader:
        await reader.text(a_pdf(["warm"]))
        began = time.monotonic()
        assert await reader.text(ENDLESS) is None
        assert 2 <= time.monotonic() - began < 30
        reader._readers[0]._limits = CvLimits(seconds=60)  # a new process may take its time to start
        assert await reader.text(a_pdf(["Fine"])) == "Fine"


async def test_a_pdf_that_wants_too_much_memory_is_given_up_and_the_next_one_is_read() -> None:
    async with a_reader(memory=128 * 2**20, seconds=60) as reader:
        assert await asyncio.wait_for(reader.text(ENDLESS), 50) is None
        assert await reader.text(a_pdf(["Fine"])) == "Fine"


async def test_only_so_many_pages_and_characters_are_read() -> None:
    async with a_reader(pages=2) as reader:
        assert await reader.text(a_pdf(["one"], ["two"], ["three"])) == "one\ntwo"
    async with a_reader(characters=5) as reader:
        assert await reader.text(a_pdf(["one"], ["two"], ["three"])) == "one\ntw"


async def test_a_killed_reader_means_that_this_cv_cannot_be_read_and_no_more() -> None:
    async with a_reader(seconds=30, memory=4 * 2**30) as reader:
        reading = asyncio.create_task(reader.text(ENDLESS))
        await until(lambda: bool(children()))
        os.kill(children()[0], signal.SIGKILL)
        assert await reading is None
        assert await reader.text(a_pdf(["Fine"])) == "Fine"


async def test_a_reader_that_died_while_idle_is_replaced(reader: CvReader) -> None:
    await reader.text(a_pdf(["one"]))
    os.kill(children()[0], signal.SIGKILL)
    await until(lambda: not children())
    assert await reader.text(a_pdf(["two"])) == "two"


async def test_a_reader_that_cannot_start_is_no_error(monkeypatch: pytest.MonkeyPatch, reader: CvReader) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert await reader.text(a_pdf(["Fine"])) is None
    monkeypatch.undo()
    assert await reader.text(a_pdf(["Fine"])) == "Fine"  # such a failure is not remembered


async def test_a_process_is_kept_for_the_next_cv_and_replaced_in_time(
    monkeypatch: pytest.MonkeyPatch, reader: CvReader
) -> None:
    monkeypatch.setattr(cv_text, "PDFS_PER_PROCESS", 2)
    seen = []
    for number in range(4):
        await reader.text(a_pdf([f"CV {number}"]))
        seen.append(children())
    assert seen[0] == seen[1] != seen[2] == seen[3]


async def test_the_same_cv_is_read_once(reader: CvReader) -> None:
    pdf = a_pdf(MARY)
    first = await asyncio.gather(*(reader.text(pdf) for _ in range(20)))
    assert len(set(first)) == 1
    os.kill(children()[0], signal.SIGKILL)
    await until(lambda: not children())
    assert await reader.text(pdf) == first[0]
    assert not children()  # nothing was started for it


async def test_only_so_many_texts_are_remembered() -> None:
    async with CvReader(processes=1, remembered=2) as reader:
        for number in (1, 2, 1, 3):  # so 2 is the one used longest ago
            await reader.text(a_pdf([f"CV {number}"]))
        os.kill(children()[0], signal.SIGKILL)
        await until(lambda: not children())
        assert [await reader.text(a_pdf([f"CV {number}"])) for number in (1, 3)] == ["CV 1", "CV 3"]
        assert not children()
        assert await reader.text(a_pdf(["CV 2"])) == "CV 2"
        assert children()


async def test_so_many_processes_work_at_once_and_no_more() -> None:
    async with CvReader(processes=2) as reader:
        texts = await asyncio.gather(*(reader.text(a_pdf([f"CV {n}"])) for n in range(10)))
        assert texts == [f"CV {n}" for n in range(10)]
        assert len(children()) == 2


async def test_one_who_gives_up_waiting_disturbs_nobody(reader: CvReader) -> None:
    pdf = a_pdf(MARY)
    impatient, patient = asyncio.create_task(reader.text(pdf)), asyncio.create_task(reader.text(pdf))
    await until(lambda: bool(children()))
    impatient.cancel()
    assert await patient is not None


async def test_nothing_is_left_when_it_closes() -> None:
    async with a_reader(seconds=30, memory=4 * 2**30) as reader:
        reading = asyncio.create_task(reader.text(ENDLESS))
        await until(lambda: bool(children()))
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not children()


async def test_the_reader_sees_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch, reader: CvReader) -> None:
    monkeypatch.setenv("SECRET_KEY", "not for a PDF")
    await reader.text(a_pdf(["Fine"]))
    assert b"SECRET_KEY" not in Path(f"/proc/{children()[0]}/environ").read_bytes()


# -- a reader whose worker was killed ---------------------------------------------------------------------------------

WORKER = """
import asyncio, sys
from consumers.documents.cv_text import CvLimits, CvReader

async def main():
    async with CvReader(processes=1, limits=CvLimits(seconds=int(sys.argv[1]), memory=2**32)) as reader:
        await reader.text(sys.stdin.buffer.read())
        print("read", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("pdf", [a_pdf(MARY), ENDLESS], ids=["idle", "busy"])
async def test_a_reader_does_not_outlive_a_killed_worker(pdf: bytes) -> None:
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, "6", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdin
    assert worker.stdout
    try:
        worker.stdin.write(pdf)
        worker.stdin.close()
        if pdf is not ENDLESS:
            assert await asyncio.wait_for(worker.stdout.readline(), 20) == b"read\n"
        await until(lambda: bool(children(worker.pid)))
        [orphan] = children(worker.pid)
        if pdf is ENDLESS:
            await until(lambda: seconds_worked(orphan) > 0.5)  # beyond its start
    finally:
        worker.kill()
        await worker.wait()
    await until(lambda: not is_alive(orphan), 15)
