"""For the tests of the HTTP contract: a running API for each module, and a new user for each test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from pymongo import MongoClient

from tests.api import KB, Api, User, running_api, settings_for
from tests.command_line import Shell


@pytest.fixture(scope="module")
def api_database(mongodb_uri: str) -> Iterator[str]:
    """The name of a database of this module alone."""
    name = f"test_{uuid4().hex[:12]}"
    yield name
    with MongoClient[dict[str, object]](mongodb_uri) as client:
        client.drop_database(name)


@pytest.fixture(scope="module")
def api_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(mongodb_uri: str, api_database: str, api_folder: Path) -> AsyncIterator[Api]:
    async with running_api(settings_for(f"sqlite:///{api_folder}/events.db", mongodb_uri, api_database)) as api:
        yield api


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small(mongodb_uri: str, api_database: str, api_folder: Path) -> AsyncIterator[Api]:
    """An API with limits that a test can reach; its read models are not built."""
    limits = {"max_body_bytes": 64 * KB, "max_cv_bytes": 8 * KB, "max_jobs_per_application": 3}
    settings = settings_for(f"sqlite:///{api_folder}/small.db", mongodb_uri, api_database, **limits)
    async with running_api(settings, projected=False) as small:
        yield small


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def still(mongodb_uri: str, api_database: str, api_folder: Path) -> AsyncIterator[Api]:
    """An API whose read models are built, and stand still."""
    settings = settings_for(
        f"sqlite:///{api_folder}/still.db", mongodb_uri, f"{api_database}_still", read_wait_seconds=0.2
    )
    async with running_api(settings):
        pass
    async with running_api(settings, projected=False) as still:
        yield still
        await still.deps.cvs._cvs.database.client.drop_database(f"{api_database}_still")


@pytest.fixture
def ada(api: Api) -> User:
    return api.user()


@pytest.fixture
def bob(api: Api) -> User:
    return api.user()


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """In an empty folder, where nothing is set."""
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path)


@pytest.fixture
def adas(shell: Shell, ada: User) -> Shell:
    return shell.of(ada)
