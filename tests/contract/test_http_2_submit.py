"""POST /applications: what is accepted (contract http.md 2)."""

from urllib.parse import quote, urlencode

import orjson
import pytest

from infra import metrics
from tests.api import PDF, Api, User
from tests.pdfs import MARY, a_pdf

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_submission_is_answered_with_where_to_follow_it(ada: User) -> None:
    answer = await ada.submit({"jobs": [{"title": "Baker"}, {"title": "Miller"}]}, style="modern")
    id = answer.json["application_id"]
    assert (answer.status, len(id)) == (200, 32)
    assert answer.json == {
        "application_id": id,
        "status": "pending",
        "status_url": f"/applications/{id}/status",
        "job_count": 2,
        "created_at": answer.json["created_at"],
    }
    assert answer.json["created_at"].endswith("Z")
    assert answer.headers["Content-Type"] == "application/json"


async def test_after_the_200_it_is_in_the_log_as_it_was_sent(api: Api, ada: User) -> None:
    job = {
        "id": "j-1", "portal": "LinkedIn", "title": "Bäcker \U0001f950", "workplace_type": "on-site", "field": "food",
        "posted_date": "2025-02-27", "job_state": "open", "description": "D" * 50_000, "apply_link": "https://x.org/1",
        "company_name": "Crumb & Co", "location": "Graz", "short_description": "Bake", "company_logo": "l.png",
        "experience": "2 years", "skills_required": ["rye", "wheat"],
    }  # fmt: skip
    event = await api.stored(await ada.submit({"jobs": [job, {}]}, style="classic"))
    assert orjson.loads(event.jobs[0].model_dump_json()) == job
    assert set(event.jobs[1].model_dump().values()) == {None}
    assert (event.style, event.cv) == ("classic", None)


async def test_urlencoded_is_as_good_where_there_is_no_file(api: Api, ada: User) -> None:
    body = urlencode({"jobs": '{"jobs": [{"title": "a+b & c=%41 é"}]}', "style": "two words"})
    event = await api.stored(await ada.send(body, "application/x-www-form-urlencoded"))
    assert (event.jobs[0].title, event.style) == ("a+b & c=%41 é", "two words")


async def test_a_large_urlencoded_form_is_read_too(api: Api, ada: User) -> None:
    document = orjson.dumps({"jobs": [{"description": "é" * 50_000}] * 20})
    event = await api.stored(await ada.send(f"jobs={quote(document)}", "application/x-www-form-urlencoded"))
    assert event.jobs[19].description == "é" * 50_000


async def test_company_is_read_as_company_name_and_unknown_keys_are_dropped(api: Api, ada: User) -> None:
    jobs = [{"company": "A"}, {"company": "A", "company_name": "B"}, {"salary": 5, "title": None}]
    event = await api.stored(await ada.submit({"jobs": jobs, "more": 1}))
    assert [job.company_name for job in event.jobs] == ["A", "B", None]


async def test_a_submission_is_counted(ada: User) -> None:
    before = metrics.APPLICATIONS_SUBMITTED_TOTAL.value(user_type="authenticated")
    jobs = metrics.APPLICATION_JOBS_COUNT.count()
    await ada.submit()
    assert metrics.APPLICATIONS_SUBMITTED_TOTAL.value(user_type="authenticated") == before + 1
    assert metrics.APPLICATION_JOBS_COUNT.count() == jobs + 1


async def test_a_cv_is_stored_before_the_event_that_names_it(api: Api, ada: User) -> None:
    pdf = a_pdf(MARY)
    event = await api.stored(await ada.submit(cv=pdf))
    assert event.cv is not None
    assert event.cv.size == len(pdf)
    assert await api.deps.cvs.read(event.cv.id) == pdf


async def test_the_same_cv_of_two_users_is_two_documents(api: Api, ada: User, bob: User) -> None:
    hers, his = [await api.stored(await user.submit(cv=PDF)) for user in (ada, bob)]
    assert hers.cv
    assert his.cv
    assert hers.cv.sha256 == his.cv.sha256
    assert hers.cv.id != his.cv.id
