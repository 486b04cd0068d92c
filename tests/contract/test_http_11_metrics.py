"""GET /metrics, and what the API counts (contract http.md 11, metrics.md 1)."""

import re
from collections.abc import AsyncIterator, Callable

import pytest

from infra import metrics
from tests.api import Api, User, running_api, settings_for, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def exposed(api: Api) -> str:
    answer = await api.ask("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return answer.body.decode()


async def counted(method: str, endpoint: str, status: int, before: float) -> None:
    """The count goes up once the last byte is handed over, which its reader may see before we do."""

    async def once_more() -> bool:
        return requests(method, endpoint, status) == before + 1

    await until(once_more, f"{method} {endpoint} {status} is counted")


def requests(method: str, endpoint: str, status: int) -> float:
    return metrics.HTTP_REQUESTS_TOTAL.value(method=method, endpoint=endpoint, status_code=status)


async def test_it_is_prometheus_text(api: Api) -> None:
    text = await exposed(api)
    assert "# TYPE http_requests_total counter" in text
    assert re.search(r"^process_resident_memory_bytes [0-9.e+]+$", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("method", "path", "endpoint", "status"),
    [
        ("GET", "/applied", "/applied", 200),
        ("GET", "/applied?limit=x", "/applied", 422),
        ("GET", "/applied/" + "0" * 32, "/applied/{id}", 404),
        ("GET", "/applications/" + "0" * 32 + "/status", "/applications/{id}/status", 404),
        ("POST", "/applications", "/applications", 415),
        ("PUT", "/applications", "/applications", 405),
        ("GET", "/nowhere/at/all", "unmatched", 404),
        ("GET", "/applied/", "unmatched", 308),
        ("HEAD", "/", "/", 200),
    ],
)
async def test_each_request_is_counted_by_its_route(
    ada: User, method: str, path: str, endpoint: str, status: int
) -> None:
    before = requests(method, endpoint, status)
    seconds = metrics.HTTP_REQUEST_DURATION_SECONDS.count(method=method, endpoint=endpoint, status_code=status)
    assert (await ada.ask(method, path)).status == status
    await counted(method, endpoint, status, before)
    observed = metrics.HTTP_REQUEST_DURATION_SECONDS.count(method=method, endpoint=endpoint, status_code=status)
    assert observed == seconds + 1


async def test_requests_without_a_token_are_counted(api: Api) -> None:
    before = requests("GET", "/applied", 401)
    await api.ask("GET", "/applied")
    await counted("GET", "/applied", 401, before)


async def test_what_is_no_http_is_counted(api: Api) -> None:
    before = requests("other", "unmatched", 400)
    await api.say(b"nonsense\r\n\r\n")
    await counted("other", "unmatched", 400, before)


async def test_metrics_itself_is_not_counted(api: Api) -> None:
    await exposed(api)
    assert 'endpoint="/metrics"' not in await exposed(api)


async def test_requests_in_progress_go_up_and_down(api: Api, ada: User) -> None:
    def running() -> float:
        return metrics.HTTP_REQUESTS_IN_PROGRESS.value(method="POST", endpoint="/applications")

    seen: list[float] = []

    async def slowly() -> AsyncIterator[bytes]:
        yield b"jobs="
        await until(lambda: is_one(running), "it is being answered")
        seen.append(running())
        yield b"{}"

    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await ada.ask("POST", "/applications", headers, data=slowly())).status == 422
    assert (seen, running()) == ([1], 0)


async def is_one(number: Callable[[], float]) -> bool:
    return number() == 1


async def test_a_token_is_asked_for_when_the_settings_say_so(
    mongodb_uri: str, mongo_database: str, sqlite_url: str
) -> None:
    settings = settings_for(sqlite_url, mongodb_uri, mongo_database, metrics_auth_required=True)
    async with running_api(settings, projected=False) as api:
        (await api.ask("GET", "/metrics")).refused(401, "ERR_8001", "AuthenticationError")
        assert (await api.user().get("/metrics")).status == 200
