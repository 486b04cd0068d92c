"""GET /applied and GET /fail_applied (contract http.md 1.1, 4)."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from yarl import URL

from domain.job import Job
from tests.api import Api, User, a_story
from tests.builders import ApplicationStory, a_job

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LISTS = ["/applied", "/fail_applied"]


def ended(user: User, path: str, at: datetime = NOON, jobs: Sequence[Job] = (a_job(),)) -> ApplicationStory:
    """An application whose jobs are all entries of the list at that path."""
    story = a_story(user, at=at).submitted(jobs).started()
    for position in range(1, len(jobs) + 1):
        story = story.attempted(position)
        story = story.applied(position) if path == "/applied" else story.refused(position)
    return story.succeeded() if path == "/applied" else story.failed()


async def happened(api: Api, *stories: ApplicationStory) -> int:
    return max([await api.happened(story) for story in stories])


async def listed(user: User, path: str, at_least: int, **query: str) -> dict[str, Any]:
    answer = await user.get(path, at_least=at_least, **query)
    assert answer.status == 200, answer.body
    body: dict[str, Any] = answer.json
    assert list(body) == ["data", "pagination"]
    assert list(body["pagination"]) == ["limit", "next_cursor", "has_more", "total_count"]
    return body


@pytest.mark.parametrize("path", LISTS)
async def test_nothing_is_an_empty_page(ada: User, path: str) -> None:
    answer = await ada.get(path)
    assert answer.json == {
        "data": {},
        "pagination": {"limit": 20, "next_cursor": None, "has_more": False, "total_count": 0},
    }


async def test_an_applied_job_is_listed_as_it_was_given(api: Api, ada: User) -> None:
    job = a_job("Bäcker", skills_required=["rye"], description="Bake", id="j-1")
    story = ended(ada, "/applied", jobs=[job])
    body = await listed(ada, "/applied", await happened(api, story))
    assert body["data"] == {
        story.id.hex: {
            **orjson.loads(job.model_dump_json()),
            "application_id": story.id.hex,
            "status": "success",
            "created_at": "2026-03-01T12:00:00Z",
            "applied_at": "2026-03-01T12:00:04Z",
            "error_reason": None,
        }
    }
    assert len(body["data"][story.id.hex]) == 20


async def test_a_failed_job_is_listed_with_its_reason(api: Api, ada: User) -> None:
    story = ended(ada, "/fail_applied")
    [entry] = (await listed(ada, "/fail_applied", await happened(api, story)))["data"].values()
    assert (entry["status"], entry["applied_at"], entry["error_reason"]) == ("failed", None, "Position closed")
    assert (await listed(ada, "/applied", 0))["data"] == {}


@pytest.mark.parametrize("path", LISTS)
async def test_the_newest_comes_first_and_jobs_in_their_order(api: Api, ada: User, path: str) -> None:
    old = ended(ada, path, NOON, [a_job(), a_job(), a_job()])
    new = ended(ada, path, NOON + timedelta(minutes=1), [a_job(), a_job()])
    body = await listed(ada, path, await happened(api, new, old))
    expected = [*(f"{new.id.hex}-{n}" for n in (1, 2)), *(f"{old.id.hex}-{n}" for n in (1, 2, 3))]
    assert list(body["data"]) == expected


@pytest.mark.parametrize("path", LISTS)
async def test_walking_the_pages_shows_each_entry_once(api: Api, ada: User, path: str) -> None:
    stories = [ended(ada, path, NOON + timedelta(minutes=n), [a_job(), a_job()]) for n in range(5)]
    position = await happened(api, *stories)
    query, seen, pages = {"limit": "3"}, list[str](), 0
    while True:
        body = await listed(ada, path, position, **query)
        seen += body["data"]
        pages += 1
        assert body["pagination"]["total_count"] >= 10
        if pages == 2:  # entries that come meanwhile do not disturb
            position = await happened(api, ended(ada, path, NOON + timedelta(hours=1)))
        if not body["pagination"]["has_more"]:
            break
        query["cursor"] = body["pagination"]["next_cursor"]
    assert body["pagination"]["next_cursor"] is None
    assert pages == 4
    assert len(seen) == len(set(seen)) == 10


@pytest.mark.parametrize("path", LISTS)
async def test_a_cursor_is_url_safe_base64_of_json_with_an_id(api: Api, ada: User, path: str) -> None:
    position = await happened(api, ended(ada, path, jobs=[a_job(), a_job()]))
    cursor = (await listed(ada, path, position, limit="1"))["pagination"]["next_cursor"]
    assert "id" in orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("cursor", ["x", "é", "====", "e30", "bnVsbA", "W10", "eyJpZCI6MX0", "\x00", "x" * 3000, "%ff"])
async def test_a_cursor_that_cannot_be_read_is_refused(ada: User, path: str, cursor: str) -> None:
    body = (await ada.get(path, cursor=cursor)).refused(422, "ERR_1001", "ValidationError")
    assert [one["field"] for one in body["details"]] == ["cursor"]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1.0", "1e1", "9" * 40, "٣", "0x1", "1_0", " "])
async def test_a_limit_out_of_bounds_is_refused(ada: User, path: str, limit: str) -> None:
    body = (await ada.get(path, limit=limit)).refused(422, "ERR_1001", "ValidationError")
    assert [one["field"] for one in body["details"]] == ["limit"]


@pytest.mark.parametrize("limit", ["1", "100"])
async def test_the_bounds_themselves_are_allowed(ada: User, limit: str) -> None:
    assert (await ada.get("/applied", limit=limit)).json["pagination"]["limit"] == int(limit)


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("name", ["date_from", "date_to"])
@pytest.mark.parametrize(
    "text", ["x", "2026", "2026-02-30", "2026-13-01", "12:00", "2026-03-01T25:00", "1", "0001-01-01T00:00+10:00"]
)
async def test_a_bad_date_is_refused(ada: User, path: str, name: str, text: str) -> None:
    body = (await ada.ask("GET", path, params={name: text})).refused(422, "ERR_1001", "ValidationError")
    assert [one["field"] for one in body["details"]] == [name]


async def test_every_bad_parameter_is_named(ada: User) -> None:
    body = (await ada.get("/applied", limit="x", date_to="y")).refused(422, "ERR_1001", "ValidationError")
    assert [one["field"] for one in body["details"]] == ["limit", "date_to"]


@pytest.mark.parametrize("path", LISTS)
async def test_filters(api: Api, ada: User, path: str) -> None:
    jobs = [
        a_job("Senior Baker", portal="LinkedIn", company_name="Crumb & Co"),
        a_job("Miller (m/f)", portal="linkedin", company_name="Straße.50% AG"),
        a_job(None, portal=None, company_name=None),  # type: ignore[arg-type]
    ]
    story = ended(ada, path, jobs=jobs)
    position = await happened(api, story)

    async def found(**query: str) -> list[int]:
        body = await listed(ada, path, position, **query)
        numbers = [int(key.rpartition("-")[2]) for key in body["data"]]
        assert body["pagination"]["total_count"] == len(numbers)
        return numbers

    assert await found() == [1, 2, 3]
    assert await found(portal="LINKEDIN") == [1, 2]
    assert await found(portal="linked") == []
    assert await found(title="baker") == [1]
    assert await found(title="er") == [1, 2]
    assert await found(title="(m/f)") == [2]
    assert await found(title=".*") == []
    assert await found(title="a|b") == []
    assert await found(company_name="STRASSE.50%") == [2]
    assert await found(company_name="crumb & co") == [1]
    assert await found(company_name="o", title="baker", portal="linkedin") == [1]
    assert await found(portal="linkedin", title="cook") == []


@pytest.mark.parametrize("name", ["portal", "company_name", "title", "cursor", "limit", "date_from", "date_to"])
async def test_an_empty_parameter_counts_as_not_sent(api: Api, ada: User, name: str) -> None:
    position = await happened(api, ended(ada, "/applied"))
    assert len((await listed(ada, "/applied", position, **{name: ""}))["data"]) == 1


@pytest.mark.parametrize("name", ["portal", "company_name", "title"])
@pytest.mark.parametrize(
    "text", ["\x00", "a\x00b", "\\", "[", "$", "{", "é", "\U0001f950", "\u202e", "x" * 3000, "%ED%A0%80"]
)
async def test_any_text_is_taken_literally(api: Api, ada: User, name: str, text: str) -> None:
    given = {"portal": "sandbox", "company_name": "Crumb", "title": "Baker"} | {name: text[:2000]}
    odd, plain = ended(ada, "/applied", jobs=[Job.model_validate(given)]), ended(ada, "/applied")
    position = await happened(api, odd, plain)
    body = await listed(ada, "/applied", position, **{name: text[:2000]})
    assert list(body["data"]) == [odd.id.hex]


@pytest.mark.parametrize("path", [*LISTS, "/applications"])
@pytest.mark.parametrize("text", ["a" * 40_000, "." * 20_000], ids=["long", "longer once escaped"])
async def test_a_text_longer_than_any_name_finds_nothing(ada: User, path: str, text: str) -> None:
    for name in ("company_name", "title"):
        assert not (await listed(ada, path, 0, **{name: text}))["data"]


async def test_percent_escapes_that_are_no_utf_8_find_nothing(ada: User) -> None:
    for query in ("title=%FF", "portal=%ED%A0%80", "company_name=%C3", "%FF=%FF", "title=%", "=&&=;"):
        url = URL(f"{ada.url}/applied?{query}", encoded=True)
        async with ada.http.get(url, headers={"Authorization": f"Bearer {ada.token}"}) as response:
            assert response.status == 200


@pytest.mark.parametrize("path", LISTS)
async def test_dates_are_inclusive_at_both_ends(api: Api, ada: User, path: str) -> None:
    stories = {at: ended(ada, path, at) for at in (NOON, NOON + timedelta(milliseconds=1), NOON + timedelta(days=1))}
    position = await happened(api, *stories.values())
    first, second, third = (story.id.hex for story in stories.values())

    async def found(**query: str) -> set[str]:
        body = await listed(ada, path, position, **query)
        assert body["pagination"]["total_count"] == len(body["data"])
        return set(body["data"])

    assert await found(date_from="2026-03-01T12:00:00Z") == {first, second, third}
    assert await found(date_from="2026-03-01T12:00:00.001Z") == {second, third}
    assert await found(date_from="2026-03-01T12:00:00.0001Z") == {second, third}
    assert await found(date_to="2026-03-01T12:00:00Z") == {first}
    assert await found(date_to="2026-03-01T12:00:00.0009") == {first}
    assert await found(date_to="2026-03-01T14:00:00+02:00") == {first}
    assert await found(date_to="2026-03-01T14:00:00 02:00") == {first}
    assert await found(date_from="2026-03-01", date_to="2026-03-01") == {first, second}
    assert await found(date_to="2026-03-02") == {first, second, third}
    assert await found(date_from="2026-03-02") == {third}
    assert await found(date_from="2026-03-03", date_to="2026-03-01") == set()
    assert await found(date_to="9999-12-31", date_from="0001-01-01") == {first, second, third}


async def test_unknown_parameters_are_ignored_and_of_two_the_first_counts(api: Api, ada: User) -> None:
    position = await happened(api, ended(ada, "/applied"))
    answer = await ada.ask("GET", "/applied?x=1&limit=5&limit=6", {"X-Event-Position": str(position)})
    assert answer.json["pagination"]["limit"] == 5


async def test_a_list_shows_the_callers_own_entries_only(api: Api, ada: User, bob: User) -> None:
    position = await happened(api, ended(ada, "/applied"))
    assert (await listed(bob, "/applied", position))["data"] == {}
    cursor = base64.urlsafe_b64encode(b'{"id": "x"}').decode()
    (await bob.get("/applied", cursor=cursor)).refused(422, "ERR_1001", "ValidationError")


async def test_no_document_is_listed(api: Api, ada: User) -> None:
    position = await happened(api, ended(ada, "/applied"))
    answer = await ada.get("/applied", at_least=position)
    assert b"resume_optimized" not in answer.body
    assert b"cover_letter" not in answer.body
