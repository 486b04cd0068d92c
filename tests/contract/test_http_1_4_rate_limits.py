"""Rate limits: what is counted, for whom, what is told of it, and what is refused (contract http.md 1.4)."""

import math
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from infra import metrics
from infra.settings import Settings
from tests.api import Api, User, running_api
from tests.limits import (
    APPLICATIONS,
    FOREVER,
    HOUR,
    REQUESTS,
    StoppedClock,
    limited_settings,
    remaining,
    standing,
    too_many,
    untold,
    with_clock,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture(scope="module")
def settings(mongodb_uri: str, api_database: str, api_folder: Path) -> Settings:
    return limited_settings(mongodb_uri, api_database, api_folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(settings: Settings, clock: StoppedClock) -> AsyncIterator[Api]:
    async with running_api(settings, changed=with_clock(clock)) as api:
        yield api


@pytest.fixture
def ada(api: Api) -> User:
    return api.user(exp=FOREVER)


@pytest.fixture
def bob(api: Api) -> User:
    return api.user(exp=FOREVER)


@pytest.fixture
def from_afar() -> dict[str, str]:
    """An address of this test alone, as the proxy tells it."""
    return {"X-Forwarded-For": f"2001:db8::{uuid4().hex[:4]}"}


# -- requests ---------------------------------------------------------------------------------------------------------


async def test_every_request_takes_one_and_tells_what_is_left(ada: User, clock: StoppedClock) -> None:
    reset = math.ceil(clock.seconds + HOUR)
    for number in range(1, REQUESTS + 1):
        assert standing(await ada.get("/applied")) == (REQUESTS, REQUESTS - number, reset)


async def test_more_are_refused_until_the_oldest_leaves(ada: User, clock: StoppedClock) -> None:
    first = clock.seconds
    for _ in range(REQUESTS):
        assert (await ada.get("/applied")).status == 200
        clock.advance(1)
    refused = too_many(await ada.get("/applied"))
    assert standing(refused) == (REQUESTS, 0, math.ceil(first + HOUR))
    assert int(refused.headers["Retry-After"]) == HOUR - REQUESTS


async def test_the_window_slides(ada: User, clock: StoppedClock) -> None:
    first = clock.seconds
    for _ in range(REQUESTS):
        await ada.get("/applied")
        clock.advance(60)
    clock.advance(HOUR - REQUESTS * 60 - 0.001)
    too_many(await ada.get("/applied"))
    clock.advance(0.001)
    assert standing(await ada.get("/applied")) == (REQUESTS, 0, math.ceil(first + 60 + HOUR))
    too_many(await ada.get("/applied"))
    clock.advance(120)
    assert remaining(await ada.get("/applied")) == (REQUESTS, 1)


async def test_a_refused_request_consumes_nothing(ada: User, clock: StoppedClock) -> None:
    for _ in range(REQUESTS):
        await ada.get("/applied")
    for _ in range(2 * REQUESTS):
        too_many(await ada.get("/applied"))
        clock.advance(1)
    clock.advance(HOUR - 2 * REQUESTS)
    assert remaining(await ada.get("/applied")) == (REQUESTS, REQUESTS - 1)


async def test_users_have_buckets_of_their_own(ada: User, bob: User) -> None:
    for _ in range(REQUESTS):
        await ada.get("/applied")
    too_many(await ada.get("/applied"))
    assert remaining(await bob.get("/applied")) == (REQUESTS, REQUESTS - 1)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/applied", 200),
        ("HEAD", "/applied", 200),
        ("GET", "/applied?limit=0", 422),
        ("GET", "/applied/" + "0" * 32, 404),
        ("GET", "/nowhere", 404),
        ("GET", "/applied/", 308),
        ("PUT", "/applied", 405),
        ("POST", "/applications", 415),
        ("GET", "/export/csv", 200),
        ("GET", "/export/csv?stream=true", 200),
        ("DELETE", "/queue/dlq", 403),
        ("GET", "/queue/status", 503),
    ],
)
async def test_every_answer_tells_and_takes(ada: User, method: str, path: str, status: int) -> None:
    answer = await ada.ask(method, path)
    assert (answer.status, remaining(answer)) == (status, (REQUESTS, REQUESTS - 1))
    assert remaining(await ada.get("/applied")) == (REQUESTS, REQUESTS - 2)


async def test_a_body_that_is_too_large_tells_and_takes(api: Api, ada: User) -> None:
    head = f"POST /applications HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ada.token}\r\nConnection: close\r\n"
    form = "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 99999999\r\n\r\n"
    told = await api.say((head + form).encode(), wait=lambda read: b"}" in read)
    assert told.startswith(b"HTTP/1.1 413")
    assert f"X-RateLimit-Remaining: {REQUESTS - 1}\r\n".encode() in told


async def test_who_is_refused_need_not_send_his_body(api: Api, ada: User) -> None:
    for _ in range(REQUESTS):
        await ada.get("/applied")
    head = f"POST /applications HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ada.token}\r\nExpect: 100-continue\r\n"
    form = "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000\r\n\r\n"
    told = await api.say((head + form).encode(), wait=lambda read: b"}" in read)
    assert told.startswith(b"HTTP/1.1 429")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/health"),
        ("POST", "/health"),
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
        ("GET", "/healthcheck"),
        ("GET", "/metrics"),
        ("OPTIONS", "/applied"),
        ("OPTIONS", "/nowhere"),
    ],
)
async def test_some_calls_are_exempt(ada: User, method: str, path: str) -> None:
    assert untold(await ada.ask(method, path))
    assert remaining(await ada.get("/applied")) == (REQUESTS, REQUESTS - 1)


# -- without a token --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, "Bearer x.y.z", "Basic YTpi"])
async def test_who_has_no_valid_token_is_counted_by_his_address(
    api: Api, ada: User, from_afar: dict[str, str], token: str | None
) -> None:
    headers = {**from_afar, **({} if token is None else {"Authorization": token})}
    for number in range(1, REQUESTS + 1):
        answer = await api.ask("GET", "/applied", headers=headers)
        assert (answer.status, remaining(answer)) == (401, (REQUESTS, REQUESTS - number))
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    too_many(await api.ask("GET", "/applied", headers=headers))
    too_many(await api.ask("GET", "/nowhere", headers=headers))
    assert (await ada.ask("GET", "/applied", from_afar)).status == 200, "who has a token is known by it"


async def test_an_expired_token_counts_for_the_address(api: Api, from_afar: dict[str, str]) -> None:
    user = api.user(exp=1)
    answer = await user.ask("GET", "/applied", from_afar)
    answer.refused(401, "ERR_8002", "TokenExpiredError")
    assert remaining(await api.ask("GET", "/nowhere", headers=from_afar)) == (REQUESTS, REQUESTS - 2)


async def test_an_address_is_no_user_of_that_name(api: Api, from_afar: dict[str, str]) -> None:
    await api.ask("GET", "/applied", headers=from_afar)
    namesake = api.user(from_afar["X-Forwarded-For"], exp=FOREVER)
    assert remaining(await namesake.get("/applied")) == (REQUESTS, REQUESTS - 1)


async def test_what_a_client_says_before_the_trusted_proxy_does_not_count(api: Api, from_afar: dict[str, str]) -> None:
    address = from_afar["X-Forwarded-For"]
    for number in range(1, 4):
        headers = [("X-Forwarded-For", f"192.0.2.{number}, {address}"), ("X-Forwarded-For", "10.1.2.3")]
        assert remaining(await api.ask("GET", "/nowhere", headers=headers)) == (REQUESTS, REQUESTS - number)


async def test_nobody_else_is_believed_about_addresses(settings: Settings, mongo_database: str) -> None:
    alone = settings.model_copy(update={"trusted_proxies": (), "mongodb_database": mongo_database})
    async with running_api(alone, projected=False) as api:
        for number in range(1, 4):
            answer = await api.ask("GET", "/nowhere", headers={"X-Forwarded-For": f"192.0.2.{number}"})
            assert remaining(answer) == (REQUESTS, REQUESTS - number)


# -- what operators see, and set --------------------------------------------------------------------------------------


async def test_every_refusal_is_counted_and_logged(
    api: Api, ada: User, from_afar: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    def counted() -> tuple[float, float, float]:
        value = metrics.RATE_LIMIT_EXCEEDED_TOTAL.value
        return (
            value(endpoint="/applied/{id}", user_type="authenticated"),
            value(endpoint="unmatched", user_type="authenticated"),
            value(endpoint="/applied", user_type="anonymous"),
        )

    before = counted()
    for _ in range(REQUESTS):
        await ada.get("/nowhere")
        await api.ask("GET", "/applied", headers=from_afar)
    assert counted() == before
    caplog.clear()
    too_many(await ada.get(f"/applied/{'0' * 32}"))
    too_many(await ada.get("/nowhere"))
    too_many(await api.ask("GET", "/applied", headers=from_afar))
    assert counted() == tuple(one + 1 for one in before)
    told = [record for record in caplog.records if getattr(record, "event_type", "") == "rate_limit_exceeded"]
    assert [record.levelname for record in told] == ["WARNING"] * 3
    assert [getattr(record, "path", None) for record in told] == [f"/applied/{'0' * 32}", "/nowhere", "/applied"]


async def test_without_limits_nothing_is_told_or_refused(settings: Settings, clock: StoppedClock) -> None:
    off = settings.model_copy(update={"rate_limit_enabled": False})
    async with running_api(off, projected=False, changed=with_clock(clock)) as api:
        ada = api.user(exp=FOREVER)
        answers = [await ada.get("/applied") for _ in range(REQUESTS + 1)]
        answers += [await ada.submit() for _ in range(APPLICATIONS + 1)]
        assert {answer.status for answer in answers} == {200}
        assert all(map(untold, answers))
