"""What the tests of the read models stand on."""

from collections.abc import AsyncIterator

import pytest

from infra.mongo import Mongo
from tests.fakes.event_log import FakeEventLog


@pytest.fixture
async def mongo(mongodb_uri: str, mongo_database: str) -> AsyncIterator[Mongo]:
    """A database of this test alone."""
    async with Mongo(mongodb_uri, mongo_database) as opened:
        yield opened


@pytest.fixture
def log() -> FakeEventLog:
    return FakeEventLog()
