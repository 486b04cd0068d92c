"""GET / (contract http.md 16)."""

import pytest

from tests.api import Api

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html"])
async def test_it_says_what_runs_here(api: Api, accept: str) -> None:
    answer = await api.ask("GET", "/", headers={"Accept": accept})
    assert answer.status == 200
    assert answer.json == {
        "message": answer.json["message"],
        "service": "application-manager-service",
        "version": "0.1.0",
    }
