"""X-Idempotency-Key: the same request is done once, and answered alike each time (contract http.md 1.5)."""

import asyncio
import dataclasses
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import orjson
import pytest
import pytest_asyncio

from api.app import Dependencies
from domain.event import RecordedEvent
from domain.ports import EventLog
from infra import metrics
from infra.clock import SystemClock
from tests.api import ONE, PDF, Answer, Api, Part, User, a_story, cv_part, part, running_api, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER = '{"jobs": [{"title": "Miller"}]}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def second(mongodb_uri: str, api_database: str, api_folder: Path) -> AsyncIterator[Api]:
    """Another API on the stores of `api`."""
    settings = settings_for(f"sqlite:///{api_folder}/events.db", mongodb_uri, api_database)
    async with running_api(settings, projected=False) as second:
        yield second


async def send(user: User, key: str, *parts: Part, boundary: str = "b") -> Answer:
    mark = boundary.encode()
    body = b"".join(b"--" + mark + b"\r\n" + told.encode() + b"\r\n\r\n" + content + b"\r\n" for told, content in parts)
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "X-Idempotency-Key": key}
    return await user.ask("POST", "/applications", headers, data=io.BytesIO(body + b"--" + mark + b"--\r\n"))


async def retry(user: User, id: str, key: str) -> Answer:
    return await user.ask("POST", f"/applications/{id}/retry", {"X-Idempotency-Key": key})


async def applications_of(api: Api, user: User) -> int:
    events = await api.event_store.log.read(0, 100_000)
    return sum(1 for one in events if one.event.NAME == "application.submitted" and one.owner.user_id == user.id)


def same(first: Answer, again: Answer) -> None:
    assert (again.status, again.body, again.position) == (first.status, first.body, first.position)
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    assert "X-Idempotency-Replayed" not in first.headers
    assert again.headers["X-Idempotency-Replayed"] == "true"


async def test_the_same_request_gets_the_same_answer_and_makes_nothing(api: Api, ada: User) -> None:
    counted = metrics.IDEMPOTENCY_REPLAYS_TOTAL.value(endpoint="/applications")
    submitted = metrics.APPLICATIONS_SUBMITTED_TOTAL.value(user_type="authenticated")
    first = await send(ada, "k", part("jobs", ONE))
    again = await send(ada, "k", part("jobs", ONE))
    same(first, again)
    assert await applications_of(api, ada) == 1
    assert again.headers["X-Correlation-ID"] != first.headers["X-Correlation-ID"]
    assert metrics.IDEMPOTENCY_REPLAYS_TOTAL.value(endpoint="/applications") == counted + 1
    assert metrics.APPLICATIONS_SUBMITTED_TOTAL.value(user_type="authenticated") == submitted + 1


async def test_the_position_of_a_replay_shows_what_the_first_one_wrote(ada: User) -> None:
    first = await send(ada, "k", part("jobs", ONE))
    again = await send(ada, "k", part("jobs", ONE))
    read = await ada.get(f"/applications/{first.json['application_id']}/status", at_least=again.position)
    assert (read.status, read.position >= first.position) == (200, True)


async def test_without_a_key_each_request_is_one_of_its_own(api: Api, ada: User) -> None:
    await ada.submit()
    await ada.submit()
    assert await applications_of(api, ada) == 2


@pytest.mark.parametrize(
    "parts",
    [(part("jobs", OTHER),), (part("jobs", ONE), part("style", "x")), (part("jobs", ONE), cv_part(PDF))],
    ids=["jobs", "style", "cv"],
)
async def test_another_content_under_the_same_key_is_refused(api: Api, ada: User, parts: tuple[Part, ...]) -> None:
    await send(ada, "k", part("jobs", ONE))
    refused = (await send(ada, "k", *parts)).refused(409, "ERR_9001", "DuplicateRequestError")
    assert "another request" in refused["message"]
    assert await applications_of(api, ada) == 1


async def test_content_is_what_the_fields_hold_not_how_they_are_sent(ada: User) -> None:
    first = await send(ada, "k", part("jobs", ONE), part("style", "x"), cv_part(PDF))
    again = await send(
        ada, "k", part("more", "1"), cv_part(PDF, filename="b.pdf"), part("style", "x"), part("jobs", ONE), boundary="c"
    )
    same(first, again)


async def test_keys_of_other_users_never_meet(api: Api, ada: User, bob: User) -> None:
    first, second = [await send(user, "k", part("jobs", ONE)) for user in (ada, bob)]
    assert first.json["application_id"] != second.json["application_id"]
    assert await applications_of(api, bob) == 1


async def test_the_same_key_on_another_path_is_another(api: Api, ada: User) -> None:
    await send(ada, "k", part("jobs", ONE))
    story = a_story(ada).submitted().started().attempted().refused().failed()
    await api.happened(story)
    answer = await retry(ada, story.id.hex, "k")
    assert (answer.status, "X-Idempotency-Replayed" in answer.headers) == (200, False)


async def test_a_retry_is_replayed_too(api: Api, ada: User) -> None:
    story = a_story(ada).submitted().started().attempted().refused().failed()
    await api.happened(story)
    first, again = [await retry(ada, story.id.hex, "k") for _ in range(2)]
    same(first, again)
    (await retry(ada, story.id.hex, "another")).refused(409, "ERR_2002", "ApplicationStateError")


async def test_after_an_error_the_key_is_free(api: Api, ada: User) -> None:
    (await send(ada, "k", part("jobs", "[]"))).refused(422, "ERR_3002", "InvalidJobDataError")
    answer = await send(ada, "k", part("jobs", ONE))
    assert (answer.status, "X-Idempotency-Replayed" in answer.headers) == (200, False)
    same(answer, await send(ada, "k", part("jobs", ONE)))


@pytest.mark.parametrize("key", ["", " ", "a b", "é", "x" * 256])
async def test_what_is_no_key_is_refused(api: Api, ada: User, key: str) -> None:
    refused = (await send(ada, key, part("jobs", ONE))).refused(422, "ERR_1001", "ValidationError")
    assert refused["details"][0]["field"] == "X-Idempotency-Key"
    assert await applications_of(api, ada) == 0


@pytest.mark.parametrize("key", ["!", "~" * 255, 'a,"b";c=1'])
async def test_any_visible_ascii_is_a_key(ada: User, key: str) -> None:
    same(await send(ada, key, part("jobs", ONE)), await send(ada, key, part("jobs", ONE)))


async def test_many_at_the_same_moment_through_two_apis_make_one_application(api: Api, second: Api) -> None:
    here = api.user()
    there = second.user(here.id)
    answers = await asyncio.gather(*(send(user, "k", part("jobs", ONE)) for user in (here, there) * 25))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert len({answer.position for answer in answers}) == 1
    assert sum("X-Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert await applications_of(api, here) == 1


async def test_a_replay_needs_nothing_but_the_log(api: Api, mongodb_uri: str, api_folder: Path) -> None:
    """Another process, begun later, and without a read model."""
    ada = api.user()
    first = await send(ada, "k", part("jobs", ONE), cv_part(PDF))
    settings = settings_for(f"sqlite:///{api_folder}/events.db", "mongodb://127.0.0.1:1/?timeoutMS=200", "nowhere")
    async with running_api(settings, projected=False) as later:
        same(first, await send(later.user(ada.id), "k", part("jobs", ONE), cv_part(PDF)))


class Later(SystemClock):
    """A clock that is ahead."""

    def now(self) -> datetime:
        return super().now() + timedelta(hours=24, seconds=1)


async def test_after_24_hours_the_key_is_free(api: Api, mongodb_uri: str, api_database: str, api_folder: Path) -> None:
    ada = api.user()
    first = await send(ada, "k", part("jobs", ONE))

    def a_day_later(deps: Dependencies) -> Dependencies:
        return dataclasses.replace(deps, clock=Later())

    settings = settings_for(f"sqlite:///{api_folder}/events.db", mongodb_uri, api_database)
    async with running_api(settings, projected=False, changed=a_day_later) as later:
        bearer = later.user(ada.id, exp=4102444800)
        second = await send(bearer, "k", part("jobs", OTHER))
        assert (second.status, "X-Idempotency-Replayed" in second.headers) == (200, False)
        same(second, await send(bearer, "k", part("jobs", OTHER)))
    assert orjson.loads(first.body)["application_id"] != second.json["application_id"]


class Overtaken:
    """A log in which somebody else is done between our look at a key and at what it guards."""

    def __init__(self, log: EventLog, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._log = log
        self._meanwhile: list[Callable[[], Awaitable[object]]] = [meanwhile]

    async def read_stream(self, stream_id: UUID) -> Sequence[RecordedEvent]:
        recorded = await self._log.read_stream(stream_id)
        if not recorded and self._meanwhile:
            await self._meanwhile.pop()()
        return recorded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


async def test_who_is_overtaken_by_the_same_request_gets_its_answer(
    api: Api, mongodb_uri: str, api_database: str, api_folder: Path
) -> None:
    """And not that an application cannot be retried which the other has just retried."""
    ada = api.user()
    story = a_story(ada).submitted().started().attempted().refused().failed()
    await api.happened(story)
    firsts: list[Answer] = []

    async def meanwhile() -> None:
        firsts.append(await retry(ada, story.id.hex, "k"))

    def overtaken(deps: Dependencies) -> Dependencies:
        return dataclasses.replace(deps, log=cast(EventLog, Overtaken(deps.log, meanwhile)))

    settings = settings_for(f"sqlite:///{api_folder}/events.db", mongodb_uri, api_database)
    async with running_api(settings, projected=False, changed=overtaken) as slower:
        second = await retry(slower.user(ada.id), story.id.hex, "k")
        same(firsts[0], second)
        (await retry(slower.user(ada.id), story.id.hex, "another")).refused(409, "ERR_2002", "ApplicationStateError")
