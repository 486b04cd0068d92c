"""Tasks that live and die together: one failure is told, and those that it brings about are not."""

import asyncio
import gc

import pytest

from consumers.together import all_of, until_first


class Lost(Exception):
    """What several find at the same moment."""


async def find(found: str) -> None:
    await asyncio.sleep(0)
    raise Lost(found)


async def fail_when_cancelled() -> None:
    try:
        await asyncio.sleep(60)
    finally:
        raise Lost("late")


async def test_the_first_of_several_failures_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    for together in (until_first, all_of):
        with pytest.raises(Lost, match="first"):
            await together(find("first"), find("second"), fail_when_cancelled())
    gc.collect()  # a failure that nobody has asked for is told when its task goes
    assert caplog.text == ""


async def test_the_others_end_with_the_first() -> None:
    ended: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("waiting")

    async with asyncio.timeout(5):
        await until_first(asyncio.sleep(0.01), wait())
    assert ended == ["waiting"]
