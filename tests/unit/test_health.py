"""The checks of the health endpoints: side by side, each with an end (contract http.md 10)."""

import asyncio

import pytest

from api.health import MONGODB, RABBITMQ, Health
from domain.errors import StoreTimeout
from tests.virtual_time import in_virtual_time

SECONDS = 0.2


async def well() -> bool:
    return True


def has_keys() -> bool:
    return True


async def silent() -> None:
    await asyncio.Event().wait()


async def late() -> None:
    raise StoreTimeout


async def broken() -> None:
    raise RuntimeError("mongodb://secret-host:27017")


@in_virtual_time
async def test_checks_run_side_by_side_and_each_ends() -> None:
    health = Health({MONGODB: silent, RABBITMQ: silent, "event_store": silent}, silent, has_keys, SECONDS)
    began = asyncio.get_running_loop().time()
    assert [one.problem for one in await health.dependencies()] == ["did not answer in time"] * 3
    ready, told = await health.readiness()
    assert (ready, set(told.values())) == (False, {"not_ready"})
    assert asyncio.get_running_loop().time() - began == pytest.approx(2 * SECONDS)


@pytest.mark.parametrize(
    ("check", "problem"), [(well, None), (late, "did not answer in time"), (broken, "cannot be used")]
)
async def test_a_problem_is_told_in_our_own_words(check: object, problem: str | None) -> None:
    health = Health({MONGODB: check}, well, has_keys, SECONDS)  # type: ignore[dict-item]
    [found] = await health.dependencies()
    assert found.problem == problem


async def test_models_that_are_not_built_make_it_not_ready() -> None:
    async def not_built() -> bool:
        return False

    ready, told = await Health({MONGODB: well, RABBITMQ: broken}, not_built, has_keys, SECONDS).readiness()
    assert (ready, told) == (False, {MONGODB: "not_ready", RABBITMQ: "not_ready"})
    ready, told = await Health({MONGODB: well, RABBITMQ: broken}, well, has_keys, SECONDS).readiness()
    assert (ready, told) == (True, {MONGODB: "ready", RABBITMQ: "not_ready"})
