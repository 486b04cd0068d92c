"""Headers of every answer: safe by default, and open to other origins only by setting (contract config.md, Service)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.api import Answer, Api, User, running_api, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

OURS, OTHER = "https://jobs.example", "https://elsewhere.example"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_(mongodb_uri: str, api_database: str, api_folder: Path) -> AsyncIterator[Api]:
    """An API that pages of one origin may call."""
    database = f"sqlite:///{api_folder}/events.db"
    settings = settings_for(database, mongodb_uri, api_database, cors_allowed_origins=(OURS,))
    async with running_api(settings, projected=False) as opened:
        yield opened


async def preflight(api: Api, path: str, origin: str, method: str = "POST") -> Answer:
    asks = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization",
    }
    return await api.ask("OPTIONS", path, headers=asks)


@pytest.mark.parametrize(
    ("path", "status"), [("/applied", 200), ("/applied?limit=0", 422), ("/health/live", 200), ("/nowhere", 404)]
)
async def test_every_answer_is_safe_by_default(ada: User, path: str, status: int) -> None:
    answer = await ada.get(path)
    assert answer.status == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "aiohttp" not in answer.headers["Server"]
    assert not any(name.startswith("Access-Control") for name in answer.headers)


async def test_what_is_one_users_is_kept_by_nobody(api: Api, ada: User) -> None:
    assert (await ada.get("/applied")).headers["Cache-Control"] == "no-store"
    assert "Cache-Control" not in (await api.ask("GET", "/health/live")).headers


async def test_without_the_setting_nobody_may_call_from_elsewhere(api: Api, ada: User) -> None:
    answer = await preflight(api, "/applications", OURS)
    answer.refused(405, "ERR_1005", "MethodNotAllowedError")
    told = {*answer.headers, *(await ada.ask("GET", "/applied", {"Origin": OURS})).headers}
    assert not any(name.startswith("Access-Control") for name in told)


async def test_a_named_origin_may_call(open_: Api) -> None:
    answer = await preflight(open_, "/applications", OURS)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == OURS
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert {"Authorization", "X-Idempotency-Key"} <= set(answer.headers["Access-Control-Allow-Headers"].split(", "))
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert int(answer.headers["Access-Control-Max-Age"]) > 0


@pytest.mark.parametrize(("path", "status"), [("/applied", 200), ("/applied?limit=0", 422)])
async def test_it_may_read_every_answer(open_: Api, path: str, status: int) -> None:
    answer = await open_.user().ask("GET", path, {"Origin": OURS})
    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] == OURS
    assert "X-Event-Position" in answer.headers["Access-Control-Expose-Headers"]
    assert answer.headers["Vary"] == "Origin"


async def test_another_origin_may_not(open_: Api) -> None:
    (await preflight(open_, "/applications", OTHER)).refused(405, "ERR_1005", "MethodNotAllowedError")
    answer = await open_.user().ask("GET", "/applied", {"Origin": OTHER})
    assert answer.status == 200
    assert not any(name.startswith("Access-Control") for name in answer.headers)
    assert answer.headers["Vary"] == "Origin", "a cache must not give this answer to the named one"


async def test_a_path_that_is_not_there_is_not_found_by_a_preflight_either(open_: Api) -> None:
    (await preflight(open_, "/nowhere", OURS)).refused(404, "ERR_1002", "NotFoundError")
