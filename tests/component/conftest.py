"""What several modules of component tests stand on."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from consumers.portals.sandbox import create_app
from infra.local_servers import temporary_folder
from infra.mongo import Mongo
from tests.fakes.event_log import FakeEventLog
from tests.sandbox import Caller, calling


@pytest.fixture
async def mongo(mongodb_uri: str, mongo_database: str) -> AsyncIterator[Mongo]:
    """A database of this test alone."""
    async with Mongo(mongodb_uri, mongo_database) as opened:
        yield opened


@pytest.fixture
def log() -> FakeEventLog:
    return FakeEventLog()


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Caller]:
    runner = web.AppRunner(create_app(tmp_path / "new" / "sandbox.db"), shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with calling(f"http://127.0.0.1:{runner.addresses[0][1]}") as caller:
            yield caller
    finally:
        await runner.cleanup()


@pytest.fixture
def folder() -> Iterator[Path]:
    """For servers of this test alone: PostgreSQL, too, which another user runs if we are root."""
    with temporary_folder() as place:
        yield place
