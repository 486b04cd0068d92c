"""The main path once more, with the event log in PostgreSQL."""

from collections.abc import AsyncIterator
from uuid import uuid4

import psycopg
import pytest
import pytest_asyncio

from infra.local_servers import Running
from tests.api import PDF, Api, User, a_story, running_api, settings_for
from tests.streams import event_stream, heard, websocket

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(postgresql_server: Running, mongodb_uri: str) -> AsyncIterator[Api]:
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(postgresql_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = postgresql_server.url.rsplit("/", 1)[0] + f"/{name}"
    async with running_api(settings_for(url, mongodb_uri, name)) as api:
        yield api
    with psycopg.connect(postgresql_server.url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_submission_is_visible_at_once_and_at_its_position(ada: User) -> None:
    written = await ada.submit({"jobs": [{"title": "a\x00b"}, {}]}, cv=PDF, style="modern")
    at_once = await ada.get(written.json["status_url"])
    projected = await ada.get(written.json["status_url"], at_least=written.position)
    assert at_once.json == projected.json
    assert at_once.json["status"] == "pending"


async def test_entries_are_listed_and_read(api: Api, ada: User, bob: User) -> None:
    story = a_story(ada).submitted(jobs=2).started().attempted(1).applied(1).attempted(2).refused(2).failed()
    position = await api.happened(story)
    for path, entry in (("/applied", f"{story.id.hex}-1"), ("/fail_applied", f"{story.id.hex}-2")):
        page = await ada.get(path, at_least=position)
        assert list(page.json["data"]) == [entry]
        assert (await ada.get(f"{path}/{entry}", at_least=position)).json["cover_letter"]
        (await bob.get(f"{path}/{entry}")).refused(404, "ERR_2001", "ApplicationNotFoundError")


async def test_a_position_beyond_the_head_is_refused(api: Api, ada: User) -> None:
    beyond = await api.event_store.log.head() + 1
    (await ada.get("/applied", at_least=beyond)).refused(422, "ERR_1001", "ValidationError")


async def test_changes_are_streamed_and_resumed_by_their_positions(api: Api, ada: User) -> None:
    async with event_stream(ada) as stream, websocket(ada) as socket:
        written = await ada.submit()
        [event] = await stream.some(1)
        assert (event.id, await heard(socket)) == (str(written.position), event.data)
    await ada.ask("DELETE", f"/applications/{written.json['application_id']}")
    async with event_stream(ada, last=event.id) as stream:
        assert [event.data["status"] for event in await stream.some(1)] == ["cancelled"]


async def test_it_is_ready(api: Api) -> None:
    assert (await api.ask("GET", "/health/ready")).status == 200
