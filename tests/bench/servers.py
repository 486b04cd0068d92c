"""The real servers that a benchmark runs on, in a folder of their own."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql

from infra.local_servers import Running, start_mongodb, start_postgresql, start_rabbitmq


@dataclass(frozen=True, slots=True)
class Servers:
    folder: Path
    mongodb: Running
    rabbitmq: Running
    postgresql: Running

    def fresh_sqlite(self) -> str:
        return f"sqlite:///{self.folder}/{uuid4().hex}.db"

    def fresh_postgresql(self) -> str:
        name = f"bench_{uuid4().hex[:12]}"
        with psycopg.connect(self.postgresql.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.postgresql.url.rsplit("/", 1)[0] + f"/{name}"


@asynccontextmanager
async def servers() -> AsyncIterator[Servers]:
    folder = Path(tempfile.mkdtemp(prefix="app-manager-bench-"))
    folder.chmod(0o755)  # PostgreSQL may run as another user
    started: list[Running] = []
    try:
        for start, name in ((start_mongodb, "mongodb"), (start_rabbitmq, "rabbitmq"), (start_postgresql, "postgresql")):
            started.append(await start(folder / name))
        yield Servers(folder, *started)
    finally:
        for server in reversed(started):
            await server.stop()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
