"""GET /applications/{application_id}/status (contract http.md 1.1, 1.9, 3)."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from yarl import URL

from domain.idempotency import key_stream
from tests.api import Api, User, a_story
from tests.builders import ApplicationStory

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBMITTED_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
FIELDS = ["application_id", "status", "created_at", "updated_at", "processed_at", "job_count", "error_reason"]


async def status_of(api: Api, user: User, story: ApplicationStory) -> dict[str, object]:
    position = await api.happened(story)
    answer = await user.get(f"/applications/{story.id.hex}/status", at_least=position)
    assert answer.status == 200
    assert list(answer.json) == FIELDS
    return {name: answer.json[name] for name in FIELDS[1:]}


async def test_a_submission_is_visible_at_once(ada: User) -> None:
    for _ in range(20):
        written = await ada.submit({"jobs": [{}, {}]})
        answer = await ada.get(written.json["status_url"])
        assert answer.json == {
            "application_id": written.json["application_id"],
            "status": "pending",
            "created_at": written.json["created_at"],
            "updated_at": written.json["created_at"],
            "processed_at": None,
            "job_count": 2,
            "error_reason": None,
        }


async def test_it_is_the_same_once_the_read_model_has_it(ada: User) -> None:
    written = await ada.submit()
    at_once = await ada.get(written.json["status_url"])
    projected = await ada.get(written.json["status_url"], at_least=written.position)
    assert projected.json == at_once.json


async def test_it_follows_the_application(api: Api, ada: User) -> None:
    story = a_story(ada, at=SUBMITTED_AT).submitted()
    started = story.started()
    attempted = started.attempted()
    times = {"created_at": "2026-01-01T12:00:00Z"}
    assert await status_of(api, ada, started) == {
        **times, "status": "processing", "updated_at": "2026-01-01T12:00:01Z",
        "processed_at": None, "job_count": 1, "error_reason": None,
    }  # fmt: skip
    success = a_story(ada, at=SUBMITTED_AT).then(*attempted).applied().succeeded()
    assert await status_of(api, ada, success) == {
        **times, "status": "success", "updated_at": "2026-01-01T12:00:05Z",
        "processed_at": "2026-01-01T12:00:05Z", "job_count": 1, "error_reason": None,
    }  # fmt: skip
    failed = a_story(ada, at=SUBMITTED_AT).then(*attempted).refused().failed()
    assert await status_of(api, ada, failed) == {
        **times, "status": "failed", "updated_at": "2026-01-01T12:00:05Z",
        "processed_at": "2026-01-01T12:00:05Z", "job_count": 1, "error_reason": "Position closed",
    }  # fmt: skip
    retried = a_story(ada, at=SUBMITTED_AT).then(*failed).retried()
    assert await status_of(api, ada, retried) == {
        **times, "status": "pending", "updated_at": "2026-01-01T12:00:06Z",
        "processed_at": None, "job_count": 1, "error_reason": None,
    }  # fmt: skip
    cancelled = a_story(ada, at=SUBMITTED_AT).then(*story).cancelled()
    assert await status_of(api, ada, cancelled) == {
        **times, "status": "cancelled", "updated_at": "2026-01-01T12:00:01Z",
        "processed_at": None, "job_count": 1, "error_reason": "Cancelled by user",
    }  # fmt: skip


async def test_the_id_of_an_entry_means_its_application(ada: User) -> None:
    written = await ada.submit({"jobs": [{}, {}]})
    id = written.json["application_id"]
    for entry in (id, f"{id}-1", f"{id}-2"):
        answer = await ada.get(f"/applications/{entry}/status")
        assert answer.json["application_id"] == id


async def test_the_only_job_has_no_id_of_its_own(ada: User) -> None:
    id = (await ada.submit()).json["application_id"]
    (await ada.get(f"/applications/{id}-1/status")).refused(404, "ERR_2001", "ApplicationNotFoundError")
    (await ada.get(f"/applications/{id}-2/status")).refused(404, "ERR_3001", "JobNotFoundError")


async def test_a_job_that_is_not_there_is_told_so(ada: User, bob: User) -> None:
    written = await ada.submit({"jobs": [{}, {}]})
    id = written.json["application_id"]
    (await ada.get(f"/applications/{id}-3/status")).refused(404, "ERR_3001", "JobNotFoundError")
    (await bob.get(f"/applications/{id}-3/status")).refused(404, "ERR_2001", "ApplicationNotFoundError")


async def test_another_users_id_answers_like_an_unknown_one(api: Api, ada: User, bob: User) -> None:
    written = await ada.submit()
    unknown = uuid4().hex
    for at_least in (None, written.position):
        foreign = await bob.get(written.json["status_url"], at_least=at_least)
        nobodys = await bob.get(f"/applications/{unknown}/status", at_least=at_least)
        told = foreign.refused(404, "ERR_2001", "ApplicationNotFoundError")
        same = nobodys.refused(404, "ERR_2001", "ApplicationNotFoundError")
        assert told["message"].replace(written.json["application_id"], unknown) == same["message"]


@pytest.mark.parametrize(
    "id",
    [
        *(
            "x",
            "1",
            "-",
            "null",
            "..%2f..",
            "%00",
            "%FF",
            "%ED%A0%80",
            "a%0Ab",
            "%C3%A9",
            "%F0%9F%A5%90",
            "%7Bid%7D",
            "a%2Fb",
        ),
        *("0" * 31, "0" * 33, "0" * 32 + "-0", "0" * 32 + "-01", "0" * 32 + "-x", "0" * 32 + "-" + "9" * 30),
        *("F" * 32, "00000000-0000-0000-0000-000000000000", "checkpoint", "parked:" + "0" * 32, "$where", "{}"),
        "x" * 5000,
    ],
)
async def test_an_id_of_odd_shape_is_unknown(ada: User, id: str) -> None:
    url = URL(f"{ada.url}/applications/{id}/status", encoded=True)
    async with ada.http.get(url, headers={"Authorization": f"Bearer {ada.token}"}) as response:
        assert (response.status, (await response.json())["code"]) == (404, "ERR_2001")


async def test_raw_bytes_in_the_path_are_no_http(api: Api, ada: User) -> None:
    head = b"GET /applications/\xff\xfe\xed\xa0\x80/status?\xff=\xff HTTP/1.1\r\nHost: x\r\n"
    read = await api.say(head + f"Authorization: Bearer {ada.token}\r\n\r\n".encode())
    assert b" 400 " in read.splitlines()[0]
    assert b'"code":"ERR_1001"' in read


async def test_a_stream_that_is_no_application_is_unknown(api: Api, ada: User) -> None:
    stream = key_stream(ada.id, "POST", "/applications", "k").hex
    (await ada.get(f"/applications/{stream}/status")).refused(404, "ERR_2001", "ApplicationNotFoundError")
