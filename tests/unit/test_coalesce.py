"""Reads that wait at the same moment share one query."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from infra.coalesce import Coalescer


class Fetches:
    """Each waits until it is let go. A key's value is its text and how many fetches had begun."""

    def __init__(self) -> None:
        self.begun: list[Sequence[str]] = []
        self.let_go = asyncio.Semaphore(0)
        self.error: Exception | None = None

    async def __call__(self, keys: Sequence[str]) -> Mapping[str, str]:
        self.begun.append(keys)
        value = f"{len(self.begun)}"
        await self.let_go.acquire()
        if self.error:
            raise self.error
        return {key: key + value for key in keys if key != "unknown"}


@pytest.fixture
def fetches() -> Fetches:
    return Fetches()


async def asked(coalescer: Coalescer[str, str], *keys: str) -> list["asyncio.Task[str | None]"]:
    tasks = [asyncio.create_task(coalescer.get(key)) for key in keys]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_those_who_ask_while_one_is_under_way_share_the_next(fetches: Fetches) -> None:
    coalescer = Coalescer(fetches, at_once=1)
    first = await asked(coalescer, "a")
    others = await asked(coalescer, "b", "a", "b", "unknown")
    fetches.let_go.release()
    fetches.let_go.release()
    assert await asyncio.gather(*first, *others) == ["a1", "b2", "a2", "b2", None]
    assert fetches.begun == [["a"], ["b", "a", "unknown"]]


async def test_a_fetch_is_bounded_and_so_are_those_under_way(fetches: Fetches) -> None:
    coalescer = Coalescer(fetches, most=2, at_once=2)
    tasks = [*await asked(coalescer, "a"), *await asked(coalescer, "b"), *await asked(coalescer, *"cdefg")]
    assert fetches.begun == [["a"], ["b"]]
    for _ in range(5):
        fetches.let_go.release()
    await asyncio.gather(*tasks)
    assert fetches.begun[2:] == [["c", "d"], ["e", "f"], ["g"]]


async def test_a_caller_that_goes_takes_nobody_with_him(fetches: Fetches) -> None:
    coalescer = Coalescer(fetches, at_once=1)
    gone, stays = await asked(coalescer, "a", "a")
    gone.cancel()
    fetches.let_go.release()
    assert await stays == "a1"
    assert fetches.begun == [["a"]]


async def test_a_failure_is_told_to_all_who_share_it_and_to_nobody_else(fetches: Fetches) -> None:
    coalescer = Coalescer(fetches, at_once=1)
    tasks = await asked(coalescer, "a", "b", "b")
    tasks[0].cancel()
    fetches.error = ValueError("away")
    fetches.let_go.release()
    told = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in told] == [asyncio.CancelledError, ValueError, ValueError]
    fetches.error = None
    fetches.let_go.release()
    assert await coalescer.get("b") == "b2"
