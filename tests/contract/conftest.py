"""For the tests of the HTTP contract: one running API for a module, and a new user for each test."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from pymongo import MongoClient

from tests.api import Api, User, running_api, settings_for


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(mongodb_uri: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    database = f"test_{uuid4().hex[:12]}"
    folder: Path = tmp_path_factory.mktemp("api")
    async with running_api(settings_for(f"sqlite:///{folder}/events.db", mongodb_uri, database)) as api:
        yield api
    with MongoClient[dict[str, object]](mongodb_uri) as client:
        client.drop_database(database)


@pytest.fixture
def ada(api: Api) -> User:
    return api.user()


@pytest.fixture
def bob(api: Api) -> User:
    return api.user()
