"""The line that is logged of each request (contract metrics.md 5)."""

import logging
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from tests.api import Api, running_api, settings_for, until

NO_MONGODB = "mongodb://127.0.0.1:1/?replicaSet=rs0"


@pytest.fixture
async def api(sqlite_url: str) -> AsyncIterator[Api]:
    quick = {"mongo_server_selection_timeout_ms": 300, "mongo_connect_timeout_ms": 300}
    async with running_api(settings_for(sqlite_url, NO_MONGODB, "x", **quick), projected=False) as api:
        yield api


async def line_of(caplog: pytest.LogCaptureFixture, event_type: str) -> dict[str, object]:
    found: list[logging.LogRecord] = []

    async def is_logged() -> bool:
        found[:] = [one for one in caplog.records if getattr(one, "event_type", "") == event_type]
        return bool(found)

    await until(is_logged, f"{event_type} is logged")
    return vars(found[-1])


async def test_it_tells_who_asked_for_what_and_how_long_it_took(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ada = api.user()
    await ada.submit()
    line = await line_of(caplog, "http_request")
    assert (line["method"], line["path"], line["status_code"]) == ("POST", "/applications", 200)
    assert line["user_id"] == ada.id
    assert UUID(str(line["correlation_id"])).version == 4
    assert isinstance(line["duration"], float)
    assert line["levelname"] == "INFO"


async def test_no_query_and_no_token_is_in_it(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ada = api.user()
    await ada.get("/nowhere", token="secret-in-the-query")
    line = await line_of(caplog, "http_request")
    assert line["path"] == "/nowhere"
    assert "secret-in-the-query" not in caplog.text
    assert ada.token not in caplog.text


async def test_probes_are_logged_at_debug_only(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await api.ask("GET", "/health/live")
    await api.ask("GET", "/nowhere")
    assert (await line_of(caplog, "http_request"))["path"] == "/nowhere"
    assert not [one for one in caplog.records if getattr(one, "path", "") == "/health/live"]


async def test_a_refused_token_is_told(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    await api.ask("GET", "/applied", headers={"Authorization": "Bearer x"})
    line = await line_of(caplog, "auth_failed")
    assert (line["levelname"], line["error"]) == ("WARNING", "InvalidTokenError")


async def test_a_store_that_is_away_is_a_database_error_in_one_line(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    await api.user().get("/applied")
    line = await line_of(caplog, "database_error")
    assert (line["levelname"], line["exc_info"]) == ("ERROR", None)
