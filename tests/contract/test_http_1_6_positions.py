"""Positions: reading what one wrote (contract http.md 1.6)."""

import asyncio

import pytest

from tests.api import Api, User, a_story

pytestmark = pytest.mark.asyncio(loop_scope="module")

READS = ["/applied", "/fail_applied", "/applied/{id}", "/fail_applied/{id}", "/applications/{id}/status"]


async def test_a_write_and_every_read_tell_a_position(api: Api, ada: User) -> None:
    written = await ada.submit()
    for path in ("/applied", "/fail_applied", written.json["status_url"]):
        read = await ada.get(path, at_least=written.position)
        assert read.status == 200
        assert read.position >= written.position


async def test_a_read_that_names_a_position_shows_what_was_written_there(api: Api, ada: User) -> None:
    for count in range(1, 21):
        position = await api.happened(a_story(ada).submitted().started().attempted().applied().succeeded())
        page = await ada.get("/applied", at_least=position, limit="1")
        assert page.position >= position
        assert page.json["pagination"]["total_count"] == count


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("position", ["", "x", "-1", "1.0", "+1", "0x1", "1e3", "9" * 30, "٣"])
async def test_what_is_no_position_is_refused(ada: User, path: str, position: str) -> None:
    written = await ada.submit()
    answer = await ada.ask("GET", path.format(id=written.json["application_id"]), {"X-Event-Position": position})
    body = answer.refused(422, "ERR_1001", "ValidationError")
    assert body["details"][0]["field"] == "X-Event-Position"


@pytest.mark.parametrize("path", READS)
async def test_a_position_beyond_the_head_is_refused(api: Api, ada: User, path: str) -> None:
    written = await ada.submit()
    beyond = await api.event_store.log.head() + 1
    answer = await ada.get(path.format(id=written.json["application_id"]), at_least=beyond)
    answer.refused(422, "ERR_1001", "ValidationError")


async def test_position_0_asks_for_nothing(ada: User) -> None:
    assert (await ada.get("/applied", at_least=0)).status == 200


async def test_a_read_waits_and_then_says_that_it_is_behind(still: Api) -> None:
    ada = still.user()
    written = await ada.submit()
    began = asyncio.get_running_loop().time()
    answer = await ada.get("/applied", at_least=written.position)
    assert asyncio.get_running_loop().time() - began >= 0.15
    answer.refused(503, "ERR_5004", "ReadModelBehindError")
    assert answer.headers["Retry-After"] == "1"


async def test_so_does_a_status(still: Api) -> None:
    ada = still.user()
    written = await ada.submit()
    answer = await ada.get(written.json["status_url"], at_least=written.position)
    answer.refused(503, "ERR_5004", "ReadModelBehindError")


async def test_without_a_position_a_submission_is_visible_at_once(still: Api) -> None:
    ada = still.user()
    written = await ada.submit()
    answer = await ada.get(written.json["status_url"])
    assert (answer.status, answer.json["status"]) == (200, "pending")
    assert answer.json["created_at"] == written.json["created_at"]
    assert answer.position == written.position


async def test_and_nobody_elses(still: Api) -> None:
    written = await still.user().submit()
    (await still.user().get(written.json["status_url"])).refused(404, "ERR_2001", "ApplicationNotFoundError")
