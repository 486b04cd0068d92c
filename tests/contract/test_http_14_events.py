"""An application's own history (contract http.md 14)."""

from uuid import uuid4

import pytest

from domain.event import Event
from tests.api import PDF, Api, User, a_story

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_all_that_happened_is_told_the_oldest_first(api: Api, ada: User) -> None:
    story = a_story(ada).submitted(jobs=2).started().attempted(1, 2).refused(1).applied(2).failed().retried()
    last = await api.happened(story)
    answer = await ada.get(f"/applications/{story.id.hex}/events")
    assert (answer.status, answer.position, answer.json["application_id"]) == (200, last, story.id.hex)
    events = answer.json["events"]
    assert [one["type"] for one in events] == [event.NAME for event in story]
    assert [one["version"] for one in events] == list(range(1, len(events) + 1))
    assert [one["position"] for one in events] == list(range(last - len(events) + 1, last + 1))
    assert [one["occurred_at"] for one in events] == sorted(one["occurred_at"] for one in events)
    assert all(
        list(one) == ["position", "version", "type", "occurred_at", "actor", "correlation_id", "data"] for one in events
    )


async def test_neither_documents_nor_cv_are_in_it(api: Api, ada: User) -> None:
    submitted = await ada.submit(cv=PDF, style="modern")
    events = (await ada.get(f"/applications/{submitted.json['application_id']}/events")).json["events"]
    assert (events[0]["actor"], events[0]["data"]["style"]) == (f"user:{ada.id}", "modern")
    assert events[0]["data"]["jobs"][0]["title"] == "Baker"
    assert events[0]["correlation_id"] == submitted.headers["X-Correlation-ID"]
    story = a_story(ada).submitted().started().attempted().applied().succeeded()
    await api.happened(story)
    told = [*events, *(await ada.get(f"/applications/{story.id.hex}/events")).json["events"]]
    assert {"documents", "cv", "cv_id", "brief"}.isdisjoint({name for one in told for name in one["data"]})


async def test_every_event_of_an_application_can_be_told(api: Api, ada: User) -> None:
    lives = [
        a_story(ada).submitted().started().attempted().retry_scheduled().requeued().started().exhausted().failed(),
        a_story(ada).submitted().started().attempted().refused().failed().retried().cancelled(),
        a_story(ada).submitted().started().documented().attempted().applied().succeeded(),
    ]
    told = set()
    for story in lives:
        await api.happened(story)
        told |= {one["type"] for one in (await ada.get(f"/applications/{story.id.hex}/events")).json["events"]}
    assert told == {name for name in Event.BY_NAME if name.startswith("application.")}


async def test_what_was_just_written_is_there(still: Api) -> None:
    ada = still.user()
    submitted = await ada.submit()
    path = f"/applications/{submitted.json['application_id']}/events"
    assert len((await ada.get(path, at_least=submitted.position)).json["events"]) == 1
    (await ada.get(path, at_least=submitted.position + 1_000)).refused(422, "ERR_1001", "ValidationError")


async def test_an_entrys_id_means_its_application(api: Api, ada: User) -> None:
    story = a_story(ada).submitted(jobs=2)
    await api.happened(story)
    assert (await ada.get(f"/applications/{story.id.hex}-2/events")).json["application_id"] == story.id.hex
    (await ada.get(f"/applications/{story.id.hex}-3/events")).refused(404, "ERR_3001", "JobNotFoundError")


async def test_anothers_answers_like_an_unknown_one(api: Api, ada: User, bob: User) -> None:
    story = a_story(ada).submitted(jobs=2)
    await api.happened(story)
    for id in (story.id.hex, f"{story.id.hex}-3", uuid4().hex, "odd"):
        (await bob.get(f"/applications/{id}/events")).refused(404, "ERR_2001", "ApplicationNotFoundError")
