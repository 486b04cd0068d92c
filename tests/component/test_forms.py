"""The room that all forms of a process have together (api/forms.py)."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from api.applications import SubmissionForm
from api.forms import FormReader
from domain.errors import Overloaded

Client = TestClient[web.Request, web.Application]

HEAD = b'--b\r\nContent-Disposition: form-data; name="jobs"\r\n\r\n'
MULTIPART, URLENCODED = "multipart/form-data; boundary=b", "application/x-www-form-urlencoded"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Answers 200 once it has a form, 503 if there was no room."""
    reader = FormReader(body=10_000, cv=10_000, room=1_000)

    async def handle(request: web.Request) -> web.Response:
        try:
            async with reader.read(request, SubmissionForm) as form:
                return web.Response(body=form.jobs)
        except Overloaded:
            return web.Response(status=503)

    app = web.Application()
    app.add_routes([web.post("/", handle)])
    async with TestClient(TestServer(app)) as client:
        yield client


async def post(client: Client, body: bytes | AsyncIterator[bytes], content_type: str) -> int:
    async with client.post("/", data=body, headers={"Content-Type": content_type}) as answer:
        return answer.status


@pytest.mark.parametrize("content_type", [MULTIPART, URLENCODED])
async def test_what_one_form_holds_another_cannot_have(client: Client, content_type: str) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    head = HEAD if content_type == MULTIPART else b"jobs="
    tail = b"\r\n--b--" if content_type == MULTIPART else b""

    async def slowly() -> AsyncIterator[bytes]:
        yield head + b"x" * 600
        begun.set()
        await go_on.wait()
        yield tail

    first = asyncio.create_task(post(client, slowly(), content_type))
    await begun.wait()
    while await post(client, head + b"x" * 600 + tail, content_type) != 503:
        await asyncio.sleep(0.01)  # the first one's bytes are still on their way
    assert await post(client, head + b"x" * 300 + tail, content_type) == 200
    go_on.set()
    assert await first == 200
    assert await post(client, head + b"x" * 900 + tail, content_type) == 200


@pytest.mark.parametrize("content_type", [MULTIPART, URLENCODED])
async def test_a_refused_form_gives_its_room_back(client: Client, content_type: str) -> None:
    head = HEAD if content_type == MULTIPART else b"jobs="
    tail = b"\r\n--b--" if content_type == MULTIPART else b""
    for _ in range(3):
        assert await post(client, head + b"x" * 1_001 + tail, content_type) == 503
        assert await post(client, head + b"x" * 900 + tail, content_type) == 200


async def test_what_nobody_declared_takes_no_room(client: Client) -> None:
    other = b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\n' + b"x" * 5_000 + b"\r\n"
    assert await post(client, other + HEAD + b"x\r\n--b--", MULTIPART) == 200
