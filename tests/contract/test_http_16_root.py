"""GET / (contract http.md 16)."""

import pytest

from tests.api import Api

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    "accept",
    ["*/*", "application/json", "", "text/*", "text/html;q=0", "text/html;q=x", "application/json, text/html;q=0.9"],
)
async def test_it_says_what_runs_here(api: Api, accept: str) -> None:
    answer = await api.ask("GET", "/", headers={"Accept": accept})
    assert (answer.status, answer.headers["Vary"]) == (200, "Accept")
    assert answer.json == {
        "message": answer.json["message"],
        "service": "application-manager-service",
        "version": "0.1.0",
    }


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("accept", [FIREFOX, "text/html", "TEXT/HTML ; q=0.5", "application/json;q=0.5, text/html"])
async def test_a_browser_is_led_to_the_console(api: Api, accept: str, method: str) -> None:
    answer = await api.ask(method, "/", headers={"Accept": accept})
    assert (answer.status, answer.body) == (303, b"")
    assert (answer.headers["Location"], answer.headers["Vary"]) == ("/console/", "Accept")
