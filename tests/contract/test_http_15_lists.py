"""GET /applications, GET /batch/applications and GET /projections (contract http.md 15)."""

import base64
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest

from domain.job import Job
from projections.read_models import READ_MODELS
from tests.api import Answer, Api, User, a_story, part
from tests.builders import ApplicationStory, a_job

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LISTS = ["/applications", "/batch/applications"]
STATUS_FIELDS = [
    *("application_id", "status", "created_at", "updated_at", "processed_at", "job_count", "error_reason", "jobs"),
]
BATCH_FIELDS = [
    *("batch_id", "status", "total", "processed", "succeeded", "failed", "cancelled", "created_at", "completed_at"),
]


def submitted(user: User, *jobs: Job, at: datetime = NOON) -> ApplicationStory:
    return a_story(user, at=at).submitted(jobs or [a_job()])


async def happened(api: Api, *stories: ApplicationStory) -> int:
    return max([await api.happened(story) for story in stories])


async def listed(user: User, path: str, at_least: int, **query: str) -> dict[str, Any]:
    answer = await user.get(path, at_least=at_least, **query)
    assert answer.status == 200, answer.body
    assert answer.position >= at_least
    body: dict[str, Any] = answer.json
    assert list(body) == ["data", "pagination"]
    assert list(body["pagination"]) == ["limit", "next_cursor", "has_more", "total_count"]
    return body


def ids(body: dict[str, Any]) -> list[str]:
    return [one.get("application_id") or one["batch_id"] for one in body["data"]]


async def send_batch(user: User, items: int = 2) -> Answer:
    document, headers = orjson.dumps([{"jobs": [{}]}] * items), {"Content-Type": "multipart/form-data; boundary=b"}
    told, content = part("items", document)
    body = b"--b\r\n" + told.encode() + b"\r\n\r\n" + content + b"\r\n--b--\r\n"
    answer = await user.ask("POST", "/batch/applications", headers, data=body)
    assert answer.status == 200, answer.body
    return answer


async def several(api: Api, user: User, path: str, count: int) -> tuple[list[str], int]:
    """So many things that the list at that path shows, the newest first; and the position of the last of them."""
    if path == "/applications":
        stories = [submitted(user, at=NOON + timedelta(minutes=n)) for n in range(count)]
        return [story.id.hex for story in reversed(stories)], await happened(api, *stories)
    batches = [await send_batch(user, 1) for _ in range(count)]
    return [batch.json["batch_id"] for batch in reversed(batches)], batches[-1].position


# -- both -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", LISTS)
async def test_nothing_is_an_empty_page(ada: User, path: str) -> None:
    assert await listed(ada, path, 0) == {
        "data": [],
        "pagination": {"limit": 20, "next_cursor": None, "has_more": False, "total_count": 0},
    }


@pytest.mark.parametrize("path", LISTS)
async def test_walking_the_pages_shows_each_once_the_newest_first(api: Api, ada: User, path: str) -> None:
    expected, position = await several(api, ada, path, 7)
    query, seen, pages = {"limit": "3"}, list[str](), 0
    while True:
        body = await listed(ada, path, position, **query)
        seen += ids(body)
        pages += 1
        assert body["pagination"]["total_count"] >= 7
        if pages == 1:  # what comes meanwhile does not disturb
            _, position = await several(api, ada, path, 1)
            await listed(ada, path, position)
        if not body["pagination"]["has_more"]:
            break
        query["cursor"] = body["pagination"]["next_cursor"]
    assert body["pagination"]["next_cursor"] is None
    assert [id for id in seen if id in expected] == expected
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    ("name", "text"), [("limit", "0"), ("limit", "101"), ("limit", "x"), ("cursor", "x"), ("cursor", "eyJpZCI6MX0")]
)
async def test_a_page_that_there_cannot_be_is_refused(ada: User, path: str, name: str, text: str) -> None:
    body = (await ada.ask("GET", path, params={name: text})).refused(422, "ERR_1001", "ValidationError")
    assert [one["field"] for one in body["details"]] == [name]


@pytest.mark.parametrize("path", LISTS)
async def test_they_show_the_callers_own_only(api: Api, ada: User, bob: User, path: str) -> None:
    _, position = await several(api, ada, path, 2)
    assert (await listed(bob, path, position))["pagination"]["total_count"] == 0
    assert (await listed(bob, path, position, portal="sandbox"))["data"] == []
    assert len((await listed(ada, path, position))["data"]) == 2


@pytest.mark.parametrize("path", [*LISTS, "/projections"])
async def test_they_need_a_token(api: Api, path: str) -> None:
    (await api.ask("GET", path)).refused(401, "ERR_8001", "AuthenticationError")


@pytest.mark.parametrize("path", LISTS)
async def test_a_position_that_is_not_reached_is_told(still: Api, path: str) -> None:
    ada = still.user()
    position = await happened(still, submitted(ada))
    (await ada.get(path, at_least=position)).refused(503, "ERR_5004", "ReadModelBehindError")
    assert (await ada.get(path)).status == 200
    (await ada.get(path, at_least=position + 1000)).refused(422, "ERR_1001", "ValidationError")


# -- applications -----------------------------------------------------------------------------------------------------


async def test_an_application_is_its_status_and_its_jobs(api: Api, ada: User) -> None:
    jobs = [a_job("Baker"), a_job("Cook", company_name=None), a_job("Waiter", portal=None)]
    story = submitted(ada, *jobs).started().attempted(1, 2).applied(1).refused(2)
    position = await happened(api, story)
    [shown] = (await listed(ada, "/applications", position))["data"]
    assert list(shown) == STATUS_FIELDS
    status = (await ada.get(f"/applications/{story.id.hex}/status", at_least=position)).json
    assert {name: shown[name] for name in status} == status
    assert shown["jobs"] == [
        {
            "app_id": f"{story.id.hex}-{position}",
            "title": job.title,
            "company_name": job.company_name,
            "portal": job.portal,
            "status": result,
        }
        for position, (job, result) in enumerate(zip(jobs, ["success", "failed", "processing"], strict=True), 1)
    ]


def half_failed(story: ApplicationStory) -> ApplicationStory:
    return story.submitted(2).started().applied(1).refused(2).failed()


LIVES: Sequence[tuple[Callable[[ApplicationStory], ApplicationStory], list[str]]] = [
    (lambda story: story.submitted(), ["pending"]),
    (lambda story: story.submitted().started(), ["processing"]),
    (lambda story: story.submitted().started().attempted().refused().failed(), ["failed"]),
    (lambda story: half_failed(story).retried(), ["success", "pending"]),
    (lambda story: half_failed(story).retried().cancelled(), ["success", "cancelled"]),
]


@pytest.mark.parametrize(("live", "expected"), LIVES)
async def test_a_job_is_where_its_application_is_until_it_has_a_result(
    api: Api, ada: User, live: Callable[[ApplicationStory], ApplicationStory], expected: list[str]
) -> None:
    story = live(a_story(ada, at=NOON))
    [shown] = (await listed(ada, "/applications", await happened(api, story)))["data"]
    assert [job["status"] for job in shown["jobs"]] == expected
    assert shown["jobs"][0]["app_id"] == (story.id.hex if len(expected) == 1 else f"{story.id.hex}-1")


async def test_of_many_jobs_the_first_twenty_are_listed_and_all_are_found(api: Api, ada: User) -> None:
    position = await happened(api, submitted(ada, *(a_job(f"Baker {n}.") for n in range(1, 26))))
    for title in ("Baker 1.", "Baker 25."):
        [shown] = (await listed(ada, "/applications", position, title=title))["data"]
        assert [job["title"] for job in shown["jobs"]] == [f"Baker {n}." for n in range(1, 21)]
        assert shown["job_count"] == 25


async def test_filters(api: Api, ada: User) -> None:
    stories = [
        submitted(
            ada, a_job("Senior Baker", portal="LinkedIn", company_name="Crumb & Co"), a_job("Cook", portal="Xing")
        ),
        submitted(ada, a_job("Miller (m/f)", portal="linkedin", company_name="Straße.50% AG")).started(),
        submitted(ada, a_job(None, portal=None, company_name=None)).cancelled(),  # type: ignore[arg-type]
    ]
    position = await happened(api, *stories)

    async def found(**query: str) -> Sequence[int]:
        body = await listed(ada, "/applications", position, **query)
        assert body["pagination"]["total_count"] == len(body["data"])
        return sorted([story.id.hex for story in stories].index(id) for id in ids(body))

    assert await found() == await found(status="", portal="", title="", company_name="") == [0, 1, 2]
    assert await found(status="processing") == [1]
    assert await found(status="success") == []
    assert await found(portal="LINKEDIN") == [0, 1]
    assert await found(portal="Linked") == []
    assert await found(title="(M/F)") == [1]
    assert await found(title="a|b") == []
    assert await found(title="e") == [0, 1]
    assert await found(company_name="STRASSE.50%") == [1]
    assert await found(portal="linkedin", title="baker") == [0]
    assert await found(portal="linkedin", title="cook") == [], "one job must match all"
    assert await found(portal="linkedin", status="pending") == [0]
    assert await found(title="baker", status="failed") == []


async def test_filtered_pages_go_on_where_the_one_before_ended(api: Api, ada: User) -> None:
    plain = [submitted(ada, at=NOON + timedelta(minutes=n)) for n in range(6)]
    stories = [story.started() if n % 2 else story for n, story in enumerate(plain)]
    position = await happened(api, *stories)
    for query, expected in (
        ({"title": "baker"}, stories),
        ({"status": "processing"}, stories[1::2]),
        ({"title": "baker", "status": "processing"}, stories[1::2]),
    ):
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            body = await listed(ada, "/applications", position, limit="2", cursor=cursor, **query)
            seen += ids(body)
            assert body["pagination"]["total_count"] == len(expected)
            cursor = body["pagination"]["next_cursor"]
        assert seen == [story.id.hex for story in reversed(expected)]


@pytest.mark.parametrize("text", ["\x00", "\\", "[", "$", "é", "\U0001f950", "x" * 2000])
async def test_any_text_is_taken_literally(api: Api, ada: User, text: str) -> None:
    odd = submitted(ada, Job.model_validate({"portal": text, "company_name": text, "title": text}))
    position = await happened(api, odd, submitted(ada))
    for name in ("portal", "company_name", "title"):
        assert ids(await listed(ada, "/applications", position, **{name: text})) == [odd.id.hex]


@pytest.mark.parametrize("status", ["x", "PENDING", "pending,failed", "partial"])
async def test_a_status_that_there_is_not_is_refused(ada: User, status: str) -> None:
    body = (await ada.get("/applications", status=status)).refused(422, "ERR_1001", "ValidationError")
    assert [one["field"] for one in body["details"]] == ["status"]


async def test_it_follows_the_application(api: Api, ada: User) -> None:
    answer = await ada.submit()
    body = await listed(ada, "/applications", answer.position, status="pending")
    assert (ids(body), body["pagination"]["total_count"]) == ([answer.json["application_id"]], 1)
    cancelled = await ada.ask("DELETE", f"/applications/{answer.json['application_id']}")
    assert (await listed(ada, "/applications", cancelled.position, status="pending"))["data"] == []
    body = await listed(ada, "/applications", cancelled.position, status="cancelled")
    assert body["data"][0]["error_reason"] == "Cancelled by user"
    assert body["pagination"]["total_count"] == 1


# -- batches ----------------------------------------------------------------------------------------------------------


async def test_a_batch_is_listed_as_it_is_told_but_for_its_results(api: Api, ada: User) -> None:
    batch = await send_batch(ada, 3)
    first = batch.json["results"][0]["application_id"]
    position = (await ada.ask("DELETE", f"/applications/{first}")).position
    body = await listed(ada, "/batch/applications", position)
    [shown] = body["data"]
    assert list(shown) == BATCH_FIELDS
    told = (await ada.get(f"/batch/applications/{batch.json['batch_id']}", at_least=position)).json
    assert {**shown, "results": told["results"]} == told
    assert (shown["status"], shown["total"], shown["processed"], shown["cancelled"]) == ("pending", 3, 1, 1)
    assert body["pagination"]["total_count"] == 1


async def test_the_applications_of_a_batch_are_listed_as_any_other(api: Api, ada: User) -> None:
    batch = await send_batch(ada, 3)
    body = await listed(ada, "/applications", batch.position)
    assert set(ids(body)) == {item["application_id"] for item in batch.json["results"]}
    assert body["pagination"]["total_count"] == 3


# -- projections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"is_admin": True},
        {"admin_role": "admin"},
        {"is_admin": True, "admin_role": "viewer"},
        {"is_admin": "true", "admin_role": "admin"},
    ],
)
async def test_projections_are_for_operators(api: Api, claims: dict[str, Any]) -> None:
    (await api.user(**claims).get("/projections")).refused(403, "ERR_8003", "InsufficientPermissionsError")


@pytest.mark.parametrize("role", ["operator", "admin"])
async def test_each_read_model_tells_how_far_it_is(api: Api, role: str) -> None:
    operator, ada = api.user(is_admin=True, admin_role=role), api.user()
    position = await happened(api, submitted(ada))
    for path in ("/applications", "/batch/applications", "/applied", "/fail_applied"):
        await listed(ada, path, position)
    answer = await operator.get("/projections")
    assert list(answer.json) == ["data"]
    head = await api.event_store.log.head()
    for shown, model in zip(answer.json["data"], READ_MODELS, strict=True):
        assert list(shown) == ["name", "version", "position", "lag_events", "lag_seconds", "parked", "state"]
        assert (shown["name"], shown["version"]) == (model.NAME, model.VERSION)
        assert (shown["parked"], shown["state"]) == (0, "running")
        if model.NAME != "totals":  # nothing has waited for it
            assert (shown["position"], shown["lag_events"], shown["lag_seconds"]) == (head, 0, 0.0)


async def test_what_nobody_projects_is_told_with_its_lag(still: Api) -> None:
    before = await still.event_store.log.head()
    await happened(still, submitted(still.user(), at=datetime.now(UTC) - timedelta(seconds=60)).started())
    answer = await still.user(is_admin=True, admin_role="operator").get("/projections")
    for shown in answer.json["data"]:
        assert (shown["position"], shown["lag_events"], shown["state"]) == (0, before + 2, "waiting")
        assert shown["lag_seconds"] >= 59


async def test_ids_in_cursors_are_those_of_the_things_listed(api: Api, ada: User) -> None:
    for path in LISTS:
        expected, position = await several(api, ada, path, 2)
        for query in ({}, {"title": "b"}) if path == "/applications" else ({},):
            cursor = (await listed(ada, path, position, limit="1", **query))["pagination"]["next_cursor"]
            content = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
            assert UUID(content["id"]).hex == expected[0]
