"""GET /applied/{app_id} and GET /fail_applied/{app_id} (contract http.md 5)."""

from uuid import uuid4

import pytest

from tests.api import Api, User, a_story
from tests.builders import ApplicationStory

pytestmark = pytest.mark.asyncio(loop_scope="module")

LISTS = ["/applied", "/fail_applied"]


def two_jobs(user: User) -> ApplicationStory:
    """The first applied, the second failed."""
    story = a_story(user).submitted(jobs=2).started()
    return story.attempted(1).applied(1).attempted(2).refused(2).failed()


async def test_an_applied_job_shows_its_documents(api: Api, ada: User) -> None:
    story = a_story(ada).submitted().started().attempted().applied().succeeded()
    answer = await ada.get(f"/applied/{story.id.hex}", at_least=await api.happened(story))
    assert answer.json == {
        "resume_optimized": {"round": 1, "for": 1},
        "cover_letter": {"text": "Letter 1 for 1"},
    }


async def test_each_job_of_several_has_its_own(api: Api, ada: User) -> None:
    story = two_jobs(ada)
    position = await api.happened(story)
    applied = await ada.get(f"/applied/{story.id.hex}-1", at_least=position)
    failed = await ada.get(f"/fail_applied/{story.id.hex}-2", at_least=position)
    assert applied.json["cover_letter"] == {"text": "Letter 1 for 1"}
    assert failed.json["cover_letter"] == {"text": "Letter 1 for 2"}


async def test_what_was_never_made_is_null(api: Api, ada: User) -> None:
    story = a_story(ada).submitted().started().refused().failed()
    answer = await ada.get(f"/fail_applied/{story.id.hex}", at_least=await api.happened(story))
    assert answer.json == {"resume_optimized": None, "cover_letter": None}


async def test_what_is_listed_can_be_read(api: Api, ada: User) -> None:
    position = await api.happened(two_jobs(ada))
    for path in LISTS:
        [entry] = (await ada.get(path, at_least=position)).json["data"]
        assert (await ada.get(f"{path}/{entry}", at_least=position)).status == 200


async def test_an_entry_of_the_other_list_is_not_found(api: Api, ada: User) -> None:
    story = two_jobs(ada)
    position = await api.happened(story)
    for path in (f"/applied/{story.id.hex}-2", f"/fail_applied/{story.id.hex}-1"):
        (await ada.get(path, at_least=position)).refused(404, "ERR_2001", "ApplicationNotFoundError")


async def test_an_applied_entry_stays_while_the_failed_one_is_retried(api: Api, ada: User) -> None:
    story = two_jobs(ada).retried()
    position = await api.happened(story)
    assert (await ada.get(f"/applied/{story.id.hex}-1", at_least=position)).status == 200
    gone = await ada.get(f"/fail_applied/{story.id.hex}-2", at_least=position)
    gone.refused(404, "ERR_2001", "ApplicationNotFoundError")


@pytest.mark.parametrize("path", LISTS)
async def test_several_jobs_are_asked_by_the_ids_of_their_entries(api: Api, ada: User, path: str) -> None:
    story = two_jobs(ada)
    position = await api.happened(story)
    for id in (story.id.hex, f"{story.id.hex}-3", f"{story.id.hex}-500"):
        (await ada.get(f"{path}/{id}", at_least=position)).refused(404, "ERR_3001", "JobNotFoundError")


@pytest.mark.parametrize("path", LISTS)
async def test_what_has_not_ended_is_in_no_list(ada: User, path: str) -> None:
    one = (await ada.submit()).json["application_id"]
    (await ada.get(f"{path}/{one}")).refused(404, "ERR_2001", "ApplicationNotFoundError")
    (await ada.get(f"{path}/{one}-1")).refused(404, "ERR_2001", "ApplicationNotFoundError")
    (await ada.get(f"{path}/{one}-2")).refused(404, "ERR_3001", "JobNotFoundError")
    two = (await ada.submit({"jobs": [{}, {}]})).json["application_id"]
    (await ada.get(f"{path}/{two}-1")).refused(404, "ERR_2001", "ApplicationNotFoundError")
    (await ada.get(f"{path}/{two}")).refused(404, "ERR_3001", "JobNotFoundError")


@pytest.mark.parametrize("path", LISTS)
async def test_another_users_entry_answers_like_an_unknown_one(api: Api, ada: User, bob: User, path: str) -> None:
    story = two_jobs(ada)
    position = await api.happened(story)
    for id in (f"{story.id.hex}-1", f"{story.id.hex}-2", f"{story.id.hex}-3", story.id.hex, uuid4().hex):
        answer = await bob.get(f"{path}/{id}", at_least=position)
        answer.refused(404, "ERR_2001", "ApplicationNotFoundError")


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("id", ["x", "%00", "%FF", "checkpoint", "parked:" + "0" * 32, "0" * 32 + "-0", "A" * 32, "{}"])
async def test_an_id_of_odd_shape_is_unknown(ada: User, path: str, id: str) -> None:
    (await ada.get(f"{path}/{id}")).refused(404, "ERR_2001", "ApplicationNotFoundError")
