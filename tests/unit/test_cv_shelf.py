"""CVs are lent in a bounded piece of memory."""

import asyncio

import pytest

from consumers.cv_shelf import CHUNK_BYTES, CvShelf
from domain.errors import StoreUnavailable
from domain.job import CvReference
from tests.workshop import CvsInMemory, until


def a_cv(id: str, size: int) -> CvReference:
    return CvReference(id=id, size=size, sha256="00" * 32)


async def test_the_file_comes_in_chunks_each_time_anew() -> None:
    content = b"x" * (CHUNK_BYTES + 1)
    async with CvShelf(CvsInMemory({"a": content})).hold(a_cv("a", len(content))) as cv:
        assert cv is not None
        for _ in range(2):
            assert b"".join([chunk async for chunk in cv.chunks()]) == content


async def test_no_cv_and_a_cv_that_is_gone() -> None:
    shelf = CvShelf(CvsInMemory())
    async with shelf.hold(None) as cv:
        assert cv is None
    async with shelf.hold(a_cv("a", 10)) as cv:
        assert cv is None


async def test_no_more_is_lent_at_once_than_there_is_room_for() -> None:
    shelf = CvShelf(CvsInMemory({"a": b"a" * 6, "b": b"b" * 6}), most=10)
    order = []

    async def use(id: str, until_set: asyncio.Event) -> None:
        async with shelf.hold(a_cv(id, 6)):
            order.append(id)
            await until_set.wait()

    first, second = asyncio.Event(), asyncio.Event()
    tasks = [asyncio.create_task(use("a", first)), asyncio.create_task(use("b", second))]
    await until(lambda: order == ["a"])
    await asyncio.sleep(0.01)
    assert order == ["a"]
    first.set()
    await until(lambda: order == ["a", "b"])
    second.set()
    await asyncio.gather(*tasks)


async def test_one_that_is_larger_than_the_room_goes_alone() -> None:
    shelf = CvShelf(CvsInMemory({"a": b"a" * 20}), most=10)
    async with asyncio.timeout(1), shelf.hold(a_cv("a", 20)) as cv:
        assert cv is not None


async def test_who_gives_up_waiting_or_meets_trouble_leaves_the_room_free() -> None:
    files = CvsInMemory({"a": b"a" * 10})
    shelf = CvShelf(files, most=10)
    async with shelf.hold(a_cv("a", 10)):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), shelf.hold(a_cv("a", 10)):
                pass
    files.trouble = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        async with shelf.hold(a_cv("a", 10)):
            pass
    files.trouble = None
    async with asyncio.timeout(1), shelf.hold(a_cv("a", 10)) as cv:
        assert cv is not None
