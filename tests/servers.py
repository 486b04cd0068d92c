"""Real servers for the tests: each started on first use, on a free port and in its own folder, stopped after all."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from pymongo import MongoClient

from infra.local_servers import Running, start_mongodb, start_postgresql, start_rabbitmq


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """A folder that another user may read: PostgreSQL refuses to run as root."""
    folder = Path(tempfile.mkdtemp(prefix="app-manager-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def mongodb_server(servers_folder: Path) -> Iterator[Running]:
    server = asyncio.run(start_mongodb(servers_folder / "mongodb"))
    yield server
    asyncio.run(server.stop())


@pytest.fixture(scope="session")
def rabbitmq_server(servers_folder: Path) -> Iterator[Running]:
    server = asyncio.run(start_rabbitmq(servers_folder / "rabbitmq"))
    yield server
    asyncio.run(server.stop())


@pytest.fixture(scope="session")
def postgresql_server(servers_folder: Path) -> Iterator[Running]:
    server = asyncio.run(start_postgresql(servers_folder / "postgresql"))
    yield server
    asyncio.run(server.stop())


@pytest.fixture(scope="session")
def mongodb_uri(mongodb_server: Running) -> str:
    return mongodb_server.url


@pytest.fixture
def mongo_database(mongodb_uri: str) -> Iterator[str]:
    """The name of a database of this test alone."""
    name = f"test_{uuid4().hex[:12]}"
    yield name
    with MongoClient[dict[str, object]](mongodb_uri) as client:
        client.drop_database(name)


@pytest.fixture(scope="session")
def rabbitmq_url(rabbitmq_server: Running) -> str:
    return rabbitmq_server.url


@pytest.fixture
def queue_prefix() -> str:
    """For queue names of this test alone."""
    return f"test_{uuid4().hex[:12]}_"


@pytest.fixture
def postgresql_url(postgresql_server: Running) -> Iterator[str]:
    """A database of this test alone."""
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(postgresql_server.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield postgresql_server.url.rsplit("/", 1)[0] + f"/{name}"
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/events.db"


@pytest.fixture(params=["sqlite", "postgresql"] if os.environ.get("EVERY_STORE") else ["postgresql"])
def deployed_store_url(request: pytest.FixtureRequest) -> str:
    """An empty event store, of the kind that a deployment has; of each kind with EVERY_STORE=1."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def event_store_url(request: pytest.FixtureRequest) -> str:
    """An empty event store, once of each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url
