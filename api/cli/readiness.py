"""Waits until the roles of `up` are ready, and says for whom it waits when that takes long."""

import asyncio
import time
from collections.abc import Callable, Sequence

import aiohttp
import orjson

from api.cli.role_plan import Role

_ASK_EVERY_SECONDS = 0.1
_TELL_EVERY_SECONDS = 15.0
_ANSWER_SECONDS = 5.0


async def wait_until_ready(
    roles: Sequence[Role], is_ready: Callable[[Role], None], tell: Callable[[str], None]
) -> None:
    """Calls `is_ready` for each and returns when all are. It has no time limit: a store that is away may come back."""
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as waits:
        for role in roles:
            waits.create_task(_wait_for(session, role, is_ready, tell))


async def _wait_for(
    session: aiohttp.ClientSession, role: Role, is_ready: Callable[[Role], None], tell: Callable[[str], None]
) -> None:
    told = time.monotonic()
    while role.url and (missing := await _missing(session, role.url + role.health)) is not None:
        if time.monotonic() - told >= _TELL_EVERY_SECONDS:
            told = time.monotonic()
            tell(f"Still waiting for the {role.name}: {missing} (log: .data/logs/{role.name}.log)")
        await asyncio.sleep(_ASK_EVERY_SECONDS)
    is_ready(role)


async def _missing(session: aiohttp.ClientSession, url: str) -> str | None:
    """What is not ready there yet; None if all is."""
    try:
        async with session.get(url) as answer:
            return None if answer.status == 200 else _unready(await answer.read(), answer.status)
    except (aiohttp.ClientError, TimeoutError):
        return "it does not answer"


def _unready(body: bytes, status: int) -> str:
    """The names of the checks that fail, from the body of a health endpoint (contract http.md 10)."""
    try:
        checks = orjson.loads(body)["checks"]
        failing = [name for name, check in checks.items() if check != "ready"]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        failing = []
    return f"{', '.join(failing)} not ready" if failing else f"it answers {status}"
