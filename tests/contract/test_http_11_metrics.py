"""GET /metrics, and what the API counts (contract http.md 11, metrics.md 1)."""

import asyncio
import math
import re
from collections.abc import AsyncIterator, Callable

import pytest

from api import exports
from infra import metrics
from tests.api import ONE, Api, User, running_api, settings_for, until

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


async def test_an_export_takes_as_long_as_its_first_byte(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    more = asyncio.Event()

    async def slowly(_: object) -> AsyncIterator[bytes]:
        yield b"the first"
        await more.wait()
        yield b" and the last"

    monkeypatch.setattr(exports, "csv_of", slowly)
    labels = {"method": "GET", "endpoint": "/export/csv", "status_code": "200"}
    quick, all_of_them = observed_within(0.25, **labels), observed_within(math.inf, **labels)
    headers = {"Authorization": f"Bearer {ada.token}"}
    async with ada.http.get(f"{ada.url}/export/csv?stream=true", headers=headers) as response:
        assert await response.content.readany() == b"the first"
        ends = asyncio.get_running_loop().time() + 0.4
        await until(lambda: is_past(ends), "longer than the first bucket that it belongs to")
        more.set()
        assert await response.read() == b" and the last"

    async def is_observed() -> bool:
        return observed_within(math.inf, **labels) == all_of_them + 1

    await until(is_observed, "it is observed")
    assert observed_within(0.25, **labels) == quick + 1


async def is_past(moment: float) -> bool:
    return asyncio.get_running_loop().time() > moment


def observed_within(seconds: float, **labels: str) -> float:
    """How many requests of these labels took no longer."""
    found = [series for told, series in metrics.HTTP_REQUEST_DURATION_SECONDS.samples() if told == labels]
    count: float = found[0][seconds] if found else 0
    return count


async def test_a_fault_of_ours_is_counted(api: Api, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("exploded")

    monkeypatch.setattr(type(api.deps.queries), "entries", fail)
    before = requests("GET", "/fail_applied", 500)
    await ada.get("/fail_applied")
    await counted("GET", "/fail_applied", 500, before)


async def test_a_replay_is_counted_by_its_route(ada: User) -> None:
    key = {"X-Idempotency-Key": "k"}
    first = await ada.ask("POST", "/applications", key, data={"jobs": ONE})
    before = metrics.IDEMPOTENCY_REPLAYS_TOTAL.value(endpoint="/applications")
    assert (await ada.ask("POST", "/applications", key, data={"jobs": ONE})).body == first.body
    assert metrics.IDEMPOTENCY_REPLAYS_TOTAL.value(endpoint="/applications") == before + 1


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
