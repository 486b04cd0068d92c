"""The correlation id (contract http.md 1.3)."""

from uuid import UUID

import pytest

from tests.api import Answer, Api, User

pytestmark = pytest.mark.asyncio(loop_scope="module")


def told(answer: Answer) -> str:
    assert answer.headers["X-Correlation-ID"] == answer.headers["X-Request-ID"]
    return answer.headers["X-Correlation-ID"]


async def sent(api: Api, **headers: str) -> str:
    return told(await api.ask("GET", "/", headers={name.replace("_", "-"): value for name, value in headers.items()}))


@pytest.mark.parametrize("id", ["a", "trace-456", "A.b_c:d/e+f=g@h-1", "x" * 128])
async def test_an_acceptable_id_is_used_as_it_is(api: Api, id: str) -> None:
    assert await sent(api, X_Correlation_ID=id) == id
    assert await sent(api, X_Request_ID=id) == id


async def test_without_one_a_new_uuid4_is_made(api: Api) -> None:
    first, second = await sent(api), await sent(api)
    assert first != second
    assert UUID(first).version == 4
    assert str(UUID(first)) == first


@pytest.mark.parametrize("id", ["", "x" * 129, "a b", "a\tb", "ä", "a;b", "<script>", '"'])
async def test_anything_else_is_replaced(api: Api, id: str) -> None:
    assert UUID(await sent(api, X_Correlation_ID=id)).version == 4


async def test_the_first_acceptable_of_the_two_counts(api: Api) -> None:
    assert await sent(api, X_Correlation_ID="one", X_Request_ID="two") == "one"
    assert await sent(api, X_Correlation_ID="not this", X_Request_ID="two") == "two"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/health/live", 200),
        ("GET", "/metrics", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/applied", 401),
        ("PUT", "/applied", 405),
        ("GET", "/applied/", 308),
    ],
)
async def test_every_answer_has_it(api: Api, method: str, path: str, status: int) -> None:
    answer = await api.ask(method, path, headers={"X-Correlation-ID": "trace-1"})
    assert answer.status == status
    assert told(answer) == "trace-1"


async def test_an_answer_about_a_body_has_it(ada: User) -> None:
    refused = await ada.ask("POST", "/applications", {"X-Correlation-ID": "t"}, data="x")
    assert (refused.status, told(refused)) == (415, "t")


async def test_it_stands_in_the_event_that_it_led_to(api: Api, ada: User) -> None:
    form = {"jobs": '{"jobs": [{}]}'}
    answer = await ada.ask("POST", "/applications", {"X-Correlation-ID": "trace-9"}, data=form)
    [submitted] = await api.event_store.log.read_stream(UUID(answer.json["application_id"]))
    cause = submitted.metadata.cause
    assert (cause.actor, cause.correlation_id) == (f"user:{ada.id}", "trace-9")
