"""Retry and cancel (contract http.md 6)."""

from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest

from infra import metrics
from tests.api import Answer, Api, User, a_story
from tests.builders import ApplicationStory

pytestmark = pytest.mark.asyncio(loop_scope="module")


def failed_of(user: User) -> ApplicationStory:
    """Of two jobs one was applied."""
    return a_story(user).submitted(jobs=2).started().attempted(1, 2).refused(1).applied(2).failed()


Act = Callable[[User, str], Awaitable[Answer]]


async def retry(user: User, id: str) -> Answer:
    return await user.ask("POST", f"/applications/{id}/retry")


async def cancel(user: User, id: str) -> Answer:
    return await user.ask("DELETE", f"/applications/{id}")


# -- retry ------------------------------------------------------------------------------------------------------------


async def test_a_failed_one_is_pending_again(api: Api, ada: User) -> None:
    story = failed_of(ada)
    await api.happened(story)
    answer = await retry(ada, story.id.hex)
    assert answer.status == 200
    assert answer.json == {
        "application_id": story.id.hex,
        "status": "pending",
        "status_url": f"/applications/{story.id.hex}/status",
        "message": answer.json["message"],
    }
    status = (await ada.get(f"/applications/{story.id.hex}/status", at_least=answer.position)).json
    assert (status["status"], status["processed_at"], status["error_reason"]) == ("pending", None, None)


async def test_its_failed_jobs_leave_the_list_and_its_applied_ones_stay(api: Api, ada: User) -> None:
    story = failed_of(ada)
    await api.happened(story)
    position = (await retry(ada, story.id.hex)).position
    assert (await ada.get("/fail_applied", at_least=position)).json["data"] == {}
    assert list((await ada.get("/applied", at_least=position)).json["data"]) == [f"{story.id.hex}-2"]


async def test_an_entrys_id_means_its_application(api: Api, ada: User) -> None:
    story = failed_of(ada)
    await api.happened(story)
    (await retry(ada, f"{story.id.hex}-3")).refused(404, "ERR_3001", "JobNotFoundError")
    assert (await retry(ada, f"{story.id.hex}-2")).json["application_id"] == story.id.hex


async def test_a_success_is_not_tried_again(api: Api, ada: User) -> None:
    story = a_story(ada).submitted().started().attempted().applied().succeeded()
    await api.happened(story)
    (await retry(ada, story.id.hex)).refused(409, "ERR_2003", "ApplicationAlreadyProcessedError")


async def test_nor_what_has_not_failed(api: Api, ada: User) -> None:
    pending, started, taken_back = (
        a_story(ada).submitted(),
        a_story(ada).submitted().started(),
        a_story(ada).submitted(),
    )
    for story in (pending, started, taken_back.cancelled()):
        await api.happened(story)
        (await retry(ada, story.id.hex)).refused(409, "ERR_2002", "ApplicationStateError")


# -- cancel -----------------------------------------------------------------------------------------------------------


async def test_a_pending_one_is_taken_back(api: Api, ada: User) -> None:
    counted = metrics.APPLICATIONS_PROCESSED_TOTAL.value(status="cancelled")
    id = (await ada.submit()).json["application_id"]
    answer = await cancel(ada, id)
    assert answer.status == 200
    assert answer.json == {"application_id": id, "status": "cancelled", "message": answer.json["message"]}
    status = (await ada.get(f"/applications/{id}/status", at_least=answer.position)).json
    assert (status["status"], status["error_reason"]) == ("cancelled", "Cancelled by user")
    assert status["processed_at"] is None
    assert metrics.APPLICATIONS_PROCESSED_TOTAL.value(status="cancelled") == counted + 1


async def test_not_while_a_worker_has_it(api: Api, ada: User) -> None:
    story = a_story(ada).submitted().started()
    await api.happened(story)
    (await cancel(ada, story.id.hex)).refused(409, "ERR_2002", "ApplicationStateError")


async def test_nor_once_it_has_ended(api: Api, ada: User) -> None:
    ends = [
        a_story(ada).submitted().cancelled(),
        failed_of(ada),
        a_story(ada).submitted().started().attempted().applied().succeeded(),
    ]
    for story in ends:
        await api.happened(story)
        (await cancel(ada, story.id.hex)).refused(409, "ERR_2003", "ApplicationAlreadyProcessedError")


# -- both -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [retry, cancel])
async def test_anothers_answers_like_an_unknown_one(api: Api, ada: User, bob: User, act: Act) -> None:
    story = failed_of(ada)
    await api.happened(story)
    foreign, unknown = await act(bob, story.id.hex), await act(bob, uuid4().hex)
    for answer in (foreign, unknown, await act(bob, "odd"), await act(bob, f"{story.id.hex}-2")):
        answer.refused(404, "ERR_2001", "ApplicationNotFoundError")
    assert set(foreign.headers) == set(unknown.headers)
