"""`as_of`: a read as it would have been answered at a position, or at a time (contract http.md 1.6a)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from domain.job import Job
from domain.ports import Append
from projections import time_travel
from tests.api import Answer, Api, User, a_story
from tests.builders import ApplicationStory

pytestmark = pytest.mark.asyncio(loop_scope="module")

READS = ["/applied", "/fail_applied", "/applied/{id}", "/fail_applied/{id}", "/applications/{id}/status"]
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def two_jobs(user: User) -> ApplicationStory:
    """One job applied, the other refused, tried again, applied; an event a second."""
    jobs = [Job(title="Baker", company_name="Crumb & Co", portal="Xing"), Job(title="Miller", portal="LinkedIn")]
    ended = a_story(user, at=AT).submitted(jobs=jobs).started().attempted(1, 2).applied(1).refused(2).failed()
    return ended.retried().started().attempted(2).applied(2).succeeded()


@pytest_asyncio.fixture(loop_scope="module")
async def lived(api: Api, ada: User) -> AsyncIterator[tuple[ApplicationStory, dict[str, int]]]:
    """An application of ada's, and the position of the last of its events of each kind."""
    story = two_jobs(ada)
    last = await api.happened(story)
    first = last - len(story.events) + 1
    yield story, {event.NAME.split(".")[1]: position for position, event in enumerate(story.events, first)}


# -- status, lists, details -------------------------------------------------------------------------------------------


async def test_a_status_is_told_as_it_was(api: Api, ada: User, lived: tuple[ApplicationStory, dict[str, int]]) -> None:
    story, at = lived
    path = f"/applications/{story.id.hex}/status"
    for name, status in (("submitted", "pending"), ("failed", "failed"), ("retry_requested", "pending")):
        answer = await ada.get(path, as_of=str(at[name]))
        assert (answer.status, answer.json["status"], answer.position) == (200, status, at[name])
    now = await ada.get(path, at_least=at["succeeded"])
    assert (await ada.get(path, as_of=str(at["succeeded"]))).json == now.json
    assert (await ada.get(path, as_of="")).json == now.json
    assert (await ada.get(f"/applications/{story.id.hex}-2/status", as_of=str(at["failed"]))).json["job_count"] == 2


async def test_lists_are_told_as_they_were(api: Api, ada: User, lived: tuple[ApplicationStory, dict[str, int]]) -> None:
    story, at = lived
    first, second = f"{story.id.hex}-1", f"{story.id.hex}-2"
    for position, applied, failed in (
        (at["submitted"], [], []),
        (at["failed"], [first], [second]),
        (at["retry_requested"], [first], []),
        (at["succeeded"], [first, second], []),
    ):
        for path, entries in (("/applied", applied), ("/fail_applied", failed)):
            answer = await ada.get(path, as_of=str(position))
            assert (answer.status, list(answer.json["data"]), answer.position) == (200, entries, position)
            assert answer.json["pagination"]["total_count"] == len(entries)
    now = await ada.get("/applied", at_least=at["succeeded"])
    assert (await ada.get("/applied", as_of=str(at["succeeded"]))).json == now.json


async def test_details_are_told_as_they_were(
    api: Api, ada: User, lived: tuple[ApplicationStory, dict[str, int]]
) -> None:
    story, at = lived
    second = f"{story.id.hex}-2"
    then = await ada.get(f"/fail_applied/{second}", as_of=str(at["failed"]))
    assert then.json["cover_letter"] == {"text": "Letter 1 for 2"}
    (await ada.get(f"/fail_applied/{second}", as_of=str(at["succeeded"]))).refused(
        404, "ERR_2001", "ApplicationNotFoundError"
    )
    (await ada.get(f"/applied/{second}", as_of=str(at["failed"]))).refused(404, "ERR_2001", "ApplicationNotFoundError")
    now = await ada.get(f"/applied/{second}", at_least=at["succeeded"])
    assert (await ada.get(f"/applied/{second}", as_of=str(at["succeeded"]))).json == now.json
    (await ada.get(f"/applied/{story.id.hex}", as_of=str(at["succeeded"]))).refused(404, "ERR_3001", "JobNotFoundError")
    (await ada.get(f"/applied/{story.id.hex}-3", as_of=str(at["succeeded"]))).refused(
        404, "ERR_3001", "JobNotFoundError"
    )


async def test_what_did_not_exist_yet_was_not_found(ada: User, lived: tuple[ApplicationStory, dict[str, int]]) -> None:
    story, at = lived
    for path in READS[2:]:
        for as_of in ("0", str(at["submitted"] - 1), "2026-03-01T11:59:59Z"):
            answer = await ada.get(path.format(id=story.id.hex), as_of=as_of)
            answer.refused(404, "ERR_2001", "ApplicationNotFoundError")


async def test_nobody_sees_anothers_past(api: Api, bob: User, lived: tuple[ApplicationStory, dict[str, int]]) -> None:
    story, at = lived
    for path in READS[2:]:
        for id in (story.id.hex, f"{story.id.hex}-1"):
            answer = await bob.get(path.format(id=id), as_of=str(at["succeeded"]))
            answer.refused(404, "ERR_2001", "ApplicationNotFoundError")
    for path in READS[:2]:
        assert (await bob.get(path, as_of=str(at["succeeded"]))).json["data"] == {}


# -- times ------------------------------------------------------------------------------------------------------------


async def test_a_time_means_every_event_that_had_occurred_by_then(api: Api, ada: User) -> None:
    """In a log of one application, whose events are a second apart and newer than all others."""
    story = a_story(ada, at=datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=20)).submitted()
    story = story.started().attempted().refused().failed()
    last = await api.happened(story)
    path = f"/applications/{story.id.hex}/status"
    for number, recorded in enumerate(story.recorded(last - len(story.events) + 1)):
        for text in (
            recorded.metadata.at.isoformat().replace("+00:00", "Z"),
            (recorded.metadata.at + timedelta(hours=2, milliseconds=999)).isoformat().replace("+00:00", "+02:00"),
        ):
            answer = await ada.get(path, as_of=text)
            assert (answer.status, answer.position) == (200, recorded.position), number
    (await ada.get(path, as_of=story.recorded()[0].metadata.at.date().isoformat())).refused(
        404, "ERR_2001", "ApplicationNotFoundError"
    )


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("as_of", ["x", "-1", "1.0", "+1", "1e3", "9" * 30, "٣", "2026-13-01", "2026-W01", "now"])
async def test_what_is_neither_position_nor_time_is_refused(ada: User, path: str, as_of: str) -> None:
    answer = await ada.get(path.format(id="0" * 32), as_of=as_of)
    body = answer.refused(422, "ERR_1001", "ValidationError")
    assert [one["field"] for one in body["details"]] == ["as_of"]


@pytest.mark.parametrize("path", READS)
async def test_what_has_not_come_yet_is_refused(api: Api, ada: User, path: str) -> None:
    written = await ada.submit()
    for as_of in (str(await api.event_store.log.head() + 1), "2126-01-01"):
        answer = await ada.get(path.format(id=written.json["application_id"]), as_of=as_of)
        body = answer.refused(422, "ERR_1001", "ValidationError")
        assert [one["field"] for one in body["details"]] == ["as_of"]


# -- pages ------------------------------------------------------------------------------------------------------------


async def many(api: Api, user: User, count: int) -> int:
    """Applied jobs of so many applications, one a day; the last position."""
    position = 0
    for number in range(count):
        job = Job(title=f"Baker {number}", company_name="Crumb" if number % 2 else "Flour", portal="Xing")
        story = a_story(user, at=AT + timedelta(days=number)).submitted(jobs=[job]).started().attempted().applied()
        position = await api.happened(story.succeeded())
    return position


async def test_pages_go_on_as_they_were(api: Api, ada: User) -> None:
    position = await many(api, ada, 7)
    await many(api, ada, 2)
    seen: list[str] = []
    cursor = ""
    while True:
        page = await ada.get("/applied", as_of=str(position), limit="3", cursor=cursor)
        assert page.json["pagination"]["total_count"] == 7
        seen += [entry["title"] for entry in page.json["data"].values()]
        if not page.json["pagination"]["has_more"]:
            break
        cursor = page.json["pagination"]["next_cursor"]
    assert seen == [f"Baker {number}" for number in reversed(range(7))]


FILTERS: list[dict[str, Any]] = [
    {"portal": "xing"}, {"portal": "LinkedIn"}, {"company_name": "CRUM"}, {"title": "er 3"}, {"title": "."},
    {"date_from": "2026-03-03"}, {"date_to": "2026-03-03"}, {"date_from": "2026-03-03T12:00:00Z", "company_name": "o"},
    {"date_to": "2026-03-03T11:59:59.999Z"}, {"limit": "2"},
]  # fmt: skip


async def test_filters_mean_what_they_mean_now(api: Api, ada: User) -> None:
    position = await many(api, ada, 6)
    for filters in FILTERS:
        now = await ada.get("/applied", at_least=position, **filters)
        then = await ada.get("/applied", as_of=str(position), **filters)
        assert then.json == now.json, filters
    (await ada.get("/applied", as_of="1", cursor="nonsense")).refused(422, "ERR_1001", "ValidationError")


# -- bounds -----------------------------------------------------------------------------------------------------------


async def test_a_list_that_would_cost_too_much_is_refused(api: Api, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_travel, "JOBS_MAX", 4)
    position = await many(api, ada, 5)
    refused = await ada.get("/applied", as_of=str(position))
    body = refused.refused(422, "ERR_1001", "ValidationError")
    assert "narrow it by date_from and date_to" in body["message"]
    answer = await ada.get("/applied", as_of=str(position), date_from="2026-03-02")
    assert (answer.status, len(answer.json["data"])) == (200, 4)


async def test_a_list_that_takes_too_long_is_given_up(api: Api, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_travel, "SECONDS", 0.0)
    answer = await ada.get("/applied", as_of="0")
    answer.refused(503, "ERR_1008", "OverloadedError")
    assert int(answer.headers["Retry-After"]) > 0


async def test_many_at_once_are_answered_one_after_the_other(api: Api, ada: User) -> None:
    position = await many(api, ada, 3)
    answers: list[Answer] = await asyncio.gather(*(ada.get("/applied", as_of=str(position)) for _ in range(20)))
    assert {(answer.status, answer.json["pagination"]["total_count"]) for answer in answers} == {(200, 3)}


# -- while read models are away ---------------------------------------------------------------------------------------


async def test_the_past_of_an_application_needs_no_read_model(still: Api) -> None:
    ada = still.user()
    story = two_jobs(ada)
    last = await still.happened(story)
    status = await ada.get(f"/applications/{story.id.hex}/status", as_of=str(last))
    assert (status.json["status"], status.position) == ("success", last)
    assert (await ada.get(f"/applied/{story.id.hex}-2", as_of=str(last))).status == 200
    behind = await ada.get("/applied", as_of=str(last))
    behind.refused(503, "ERR_5004", "ReadModelBehindError")


async def test_events_of_others_at_the_same_position_change_nothing(api: Api, ada: User, bob: User) -> None:
    mine, theirs = a_story(ada, at=AT).submitted(), a_story(bob, at=AT).submitted()
    together = [*mine.recorded(), *(replace(one) for one in theirs.recorded())]
    position = await api.event_store.log.append(Append(together))
    before = await ada.get(f"/applications/{mine.id.hex}/status", as_of=str(position - 1))
    after = await ada.get(f"/applications/{mine.id.hex}/status", as_of=str(position))
    assert (before.status, after.json) == (200, before.json)
