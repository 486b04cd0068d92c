"""POST /applications: the jobs (contract http.md 1.8, 2)."""

from typing import Any

import pytest

from tests.api import KB, ONE, Api, User, part

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "x",
        " ",
        "null",
        "[]",
        '"jobs"',
        "{}",
        '{"jobs": null}',
        '{"jobs": {}}',
        '{"jobs": "x"}',
        '{"jobs": []}',
        '{"jobs": [null]}',
        '{"jobs": [[]]}',
        '{"jobs": [{}]} x',
        '{"jobs": [{"title": NaN}]}',
        '{"jobs": [{"title": "\\ud800"}]}',
        '{"jobs": ' + "[" * 100_000,
        "\ufeff" + ONE,
    ],
)
async def test_jobs_that_are_no_jobs_are_refused(ada: User, document: str) -> None:
    (await ada.submit(document)).refused(422, "ERR_3002", "InvalidJobDataError")


@pytest.mark.parametrize("raw", [b'{"jobs": [{"title": "\xff"}]}', b'{"jobs": [{"title": "\xed\xa0\x80"}]}'])
async def test_jobs_must_be_utf_8(ada: User, raw: bytes) -> None:
    (await ada.send_parts(part("jobs", raw))).refused(422, "ERR_3002", "InvalidJobDataError")


@pytest.mark.parametrize(
    ("job", "field"),
    [
        ({"id": 5}, "jobs[1].id"),
        ({"title": True}, "jobs[1].title"),
        ({"company": 7}, "jobs[1].company"),
        ({"title": "x" * 2001}, "jobs[1].title"),
        ({"description": "x" * 50_001}, "jobs[1].description"),
        ({"skills_required": "rye"}, "jobs[1].skills_required"),
        ({"skills_required": ["rye", 3]}, "jobs[1].skills_required[1]"),
        ({"skills_required": ["x" * 201]}, "jobs[1].skills_required[0]"),
        ({"skills_required": ["x"] * 201}, "jobs[1].skills_required"),
        ("x", "jobs[1]"),
    ],
)
async def test_the_field_of_a_bad_job_is_named(ada: User, job: Any, field: str) -> None:
    body = (await ada.submit({"jobs": [{}, job]})).refused(422, "ERR_3002", "InvalidJobDataError")
    assert [one["field"] for one in body["details"]] == [field]
    assert {one["code"] for one in body["details"]} == {"ERR_3002"}


async def test_every_bad_field_is_named_up_to_a_bound(ada: User) -> None:
    body = (await ada.submit({"jobs": [{"id": 1, "title": 2}, {"field": 3}]})).refused(
        422, "ERR_3002", "InvalidJobDataError"
    )
    assert [one["field"] for one in body["details"]] == ["jobs[0].id", "jobs[0].title", "jobs[1].field"]
    many = (await ada.submit({"jobs": [{"skills_required": [1] * 200}] * 500})).json["details"]
    assert len(many) == 100


async def test_what_was_sent_is_not_sent_back(ada: User) -> None:
    answer = await ada.submit({"jobs": [{"title": 123456789}]})
    assert b"123456789" not in answer.body


async def test_the_most_jobs_are_500(api: Api, ada: User) -> None:
    assert len((await api.stored(await ada.submit({"jobs": [{}] * 500}))).jobs) == 500
    for count in (501, 100_000):
        body = (await ada.submit({"jobs": [{}] * count})).refused(422, "ERR_3002", "InvalidJobDataError")
        assert body["details"][0]["field"] == "jobs"


async def test_the_setting_bounds_the_jobs(small: Api) -> None:
    assert (await small.user().submit({"jobs": [{}] * 3})).status == 200
    (await small.user().submit({"jobs": [{}] * 4})).refused(422, "ERR_3002", "InvalidJobDataError")


async def test_the_jobs_field_holds_4_mib(ada: User) -> None:
    job = {"description": "x" * 45_000}
    assert (await ada.submit({"jobs": [job] * 90})).status == 200
    (await ada.submit({"jobs": [job] * 94})).refused(422, "ERR_3002", "InvalidJobDataError")
    urlencoded = await ada.send(b"jobs=" + b"x" * (4 * KB * KB + 1), "application/x-www-form-urlencoded")
    urlencoded.refused(422, "ERR_3002", "InvalidJobDataError")


@pytest.mark.parametrize("title", ["\x00", "a\x00b", "\u202e", "\U0010ffff", "\ufffe", "\x7f\r\n"])
async def test_any_unicode_is_kept(api: Api, ada: User, title: str) -> None:
    event = await api.stored(await ada.submit({"jobs": [{"title": title}]}))
    assert event.jobs[0].title == title
