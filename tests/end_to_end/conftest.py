"""One service and one browser for all tests of the console: both take seconds to start."""

import asyncio
import json
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.browser import Program, browsing, find_chromium
from tests.chaos.fixtures import their_servers
from tests.end_to_end.service import Service
from tests.portal_servers import read_request, served

__all__ = ["their_servers"]  # a fixture


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def console_service(
    tmp_path_factory: pytest.TempPathFactory, mongodb_uri: str, rabbitmq_url: str
) -> AsyncIterator[Service]:
    """All roles but the worker, which each test starts when it wants one.

    The portal Indeed refuses every job, and Xing never answers; all others are the sandbox.
    """
    folder = tmp_path_factory.mktemp("console")
    async with served(refuse) as indeed, served(never_answer) as xing:
        service = Service.on(
            folder,
            mongodb=mongodb_uri,
            database=f"test_{uuid4().hex[:12]}",
            rabbitmq=rabbitmq_url,
            event_store=f"sqlite:///{folder}/events.db",
            MAX_RETRIES="1",
            SHUTDOWN_GRACE_SECONDS="1",
            PORTALS=json.dumps({"Indeed": portal_at(indeed), "Xing": portal_at(xing)}),
        )
        async with service.running("api", "projector", "relay", "sandbox"):
            yield service


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    body = b'{"message": "The position has been filled"}'
    writer.write(b"HTTP/1.1 422 No\r\nContent-Type: application/json\r\nConnection: close\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    await writer.drain()


async def never_answer(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()  # until its caller has gone


def portal_at(port: int) -> dict[str, str]:
    return {"url": f"http://127.0.0.1:{port}/", "delivery": "at_least_once"}


@pytest.fixture(scope="session")
def chromium() -> Program:
    return find_chromium()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: Program, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with browsing(chromium, tmp_path_factory.mktemp("profile")) as browser:
        yield browser
