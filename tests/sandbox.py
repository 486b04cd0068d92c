"""Calls of a sandbox portal, without an adapter between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

Body = dict[str, Any]


class Caller:
    """Calls one sandbox portal as a portal's client does, without an adapter between."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.session, self.base = session, base

    async def submit(
        self, title: str = "", *, entry: str = "entry-1", key: str | None = None, blind: bool = False, **options: Any
    ) -> tuple[int, Body]:
        path = "/submit-blind" if blind else "/submit"
        headers = {"Idempotency-Key": f"{entry}-1" if key is None else key} if key != "" else {}
        body = {"entry_id": entry, "application_id": entry.split("-", maxsplit=1)[0], "job": {"title": title}}
        return await self.call("POST", path, json=body, headers=headers, **options)

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Body]:
        async with self.session.request(method, self.base + path, **options) as answer:
            return answer.status, await answer.json()

    async def entry(self, entry: str = "entry-1") -> Body:
        _, body = await self.call("GET", f"/received?entry_id={entry}")
        [found] = body["data"]
        assert isinstance(found, dict)
        return found

    async def summary(self) -> Body:
        return (await self.call("GET", "/summary"))[1]


@asynccontextmanager
async def calling(base: str) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as session:
        yield Caller(session, base)


async def received(caller: Caller, entry: str) -> None:
    """Waits until the portal has an entry."""
    async with asyncio.timeout(10):
        while not (await caller.call("GET", f"/received?entry_id={entry}"))[1]["data"]:
            await asyncio.sleep(0.01)
