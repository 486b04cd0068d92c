"""One service through two API processes: keys, reads of what was written, races, restarts, kills (http.md 1.5, 1.6).

REPLICA_KILLS=20 kills one of them so many times; each round looks at another moment.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from uuid import uuid4

import orjson
import psycopg
import pytest
import pytest_asyncio
from pymongo import MongoClient

from infra.local_servers import Running
from tests.api import ONE, PDF, Answer, User, a_story, cv_part, part
from tests.replicas import (
    FIRST,
    SECOND,
    Replicas,
    answer_or_none,
    is_replay,
    one_was_first,
    running_replicas,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

KILLS = int(os.environ.get("REPLICA_KILLS", "1"))
MANY = 50
BATCH = orjson.dumps([{"jobs": [{"title": "Baker"}]}, {"jobs": [{}, {}], "style": "modern"}])


@pytest.fixture(scope="module")
def sqlite_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('events')}/events.db"


@pytest.fixture(scope="module")
def postgresql_store(postgresql_server: Running) -> Iterator[str]:
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(postgresql_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield postgresql_server.url.rsplit("/", 1)[0] + f"/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def event_store(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_store")
    return url


@pytest.fixture(scope="module")
def database(mongodb_uri: str, event_store: str) -> Iterator[str]:
    """The name of a database of read models for that event store alone."""
    name = f"test_{uuid4().hex[:12]}"
    yield name
    with MongoClient[dict[str, object]](mongodb_uri) as client:
        client.drop_database(name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replicas(
    mongodb_uri: str, database: str, event_store: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Replicas]:
    folder = tmp_path_factory.mktemp("replicas")
    async with running_replicas(folder, mongodb=mongodb_uri, database=database, event_store=event_store) as replicas:
        yield replicas


Post = Callable[[User, str], "asyncio.Task[Answer]"]


def submission(user: User, key: str) -> "asyncio.Task[Answer]":
    return _post(user, "/applications", key, part("jobs", ONE), part("style", "modern"))


def submission_with_cv(user: User, key: str) -> "asyncio.Task[Answer]":
    return _post(user, "/applications", key, part("jobs", ONE), cv_part(PDF))


def batch(user: User, key: str) -> "asyncio.Task[Answer]":
    return _post(user, "/batch/applications", key, part("items", BATCH), cv_part(PDF))


def _post(user: User, path: str, key: str, *parts: tuple[str, bytes]) -> "asyncio.Task[Answer]":
    body = b"".join(b"--b\r\n" + told.encode() + b"\r\n\r\n" + content + b"\r\n" for told, content in parts)
    headers = {"Content-Type": "multipart/form-data; boundary=b", "X-Idempotency-Key": key}
    return asyncio.create_task(user.ask("POST", path, headers, data=body + b"--b--\r\n"))


def retry(user: User, id: str, key: str | None = None) -> "asyncio.Task[Answer]":
    headers = {"X-Idempotency-Key": key} if key else {}
    return asyncio.create_task(user.ask("POST", f"/applications/{id}/retry", headers))


async def cancel(user: User, id: str) -> Answer:
    return await user.ask("DELETE", f"/applications/{id}")


async def spread(post: Callable[[User], "asyncio.Task[Answer]"], *users: User) -> list[Answer]:
    """MANY at the same moment, by turns through each process."""
    return await asyncio.gather(*(post(user) for user in users * (MANY // len(users))))


async def failed_of(replicas: Replicas, user: User) -> str:
    story = a_story(user).submitted().started().attempted().refused().failed()
    await replicas.happened(story)
    return story.id.hex


# -- one key ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("post", [submission, submission_with_cv])
async def test_many_submissions_with_one_key_are_one_application(replicas: Replicas, post: Post) -> None:
    users = replicas.user()
    first = one_was_first(await spread(lambda user: post(user, "k"), *users))
    assert await replicas.submitted_by(users[0]) == [first.json["application_id"]]
    for user in users:
        is_replay(await post(user, "k"), first)
        listed = await user.get("/applications", at_least=first.position)
        assert [one["application_id"] for one in listed.json["data"]] == [first.json["application_id"]]


async def test_many_batches_with_one_key_are_one_batch(replicas: Replicas) -> None:
    users = replicas.user()
    first = one_was_first(await spread(lambda user: batch(user, "k"), *users))
    made = [item["application_id"] for item in first.json["results"]]
    assert await replicas.submitted_by(users[0]) == made
    for user in users:
        is_replay(await batch(user, "k"), first)
        listed = await user.get("/batch/applications", at_least=first.position)
        assert [one["batch_id"] for one in listed.json["data"]] == [first.json["batch_id"]]


async def test_many_retries_with_one_key_are_one_retry(replicas: Replicas) -> None:
    users = replicas.user()
    id = await failed_of(replicas, users[0])
    first = one_was_first(await spread(lambda user: retry(user, id, "k"), *users))
    assert (await replicas.names(id)).count("retry_requested") == 1
    for user in users:
        is_replay(await retry(user, id, "k"), first)


async def test_of_many_retries_without_a_key_one_is_done(replicas: Replicas) -> None:
    users = replicas.user()
    id = await failed_of(replicas, users[0])
    answers = await spread(lambda user: retry(user, id), *users)
    assert [answer.status for answer in answers].count(200) == 1
    for refused in (answer for answer in answers if answer.status != 200):
        refused.refused(409, "ERR_2002", "ApplicationStateError")
    assert (await replicas.names(id)).count("retry_requested") == 1


async def test_many_keys_at_the_same_moment_do_not_get_into_each_others_way(replicas: Replicas) -> None:
    users = replicas.user()
    keys = [f"k{number}" for number in range(10)]
    posts = {key: [submission(user, key) for user in users * 3] for key in keys}
    firsts = [one_was_first([await post for post in posts[key]]) for key in keys]
    made = [first.json["application_id"] for first in firsts]
    assert len(set(made)) == len(keys)
    assert set(await replicas.submitted_by(users[0])) == set(made)


async def test_of_two_requests_with_one_key_and_other_contents_one_is_refused(replicas: Replicas) -> None:
    here, there = replicas.user()
    for key in ("k1", "k2", "k3", "k4"):
        answers = await asyncio.gather(submission(here, key), submission_with_cv(there, key))
        done, refused = sorted(answers, key=lambda answer: answer.status)
        assert done.status == 200
        assert "another request" in refused.refused(409, "ERR_9001", "DuplicateRequestError")["message"]
    assert len(await replicas.submitted_by(here)) == 4


# -- reading what was written through the other -----------------------------------------------------------------------


async def test_what_is_written_through_one_is_read_through_the_other(replicas: Replicas) -> None:
    users = replicas.user()
    for writer, reader in (users, users[::-1]) * 5:
        submitted = await writer.submit({"jobs": [{"title": "Baker"}, {}]})
        id = submitted.json["application_id"]
        status = await reader.get(f"/applications/{id}/status", at_least=submitted.position)
        assert (status.status, status.json["status"], status.json["job_count"]) == (200, "pending", 2)
        assert status.position >= submitted.position
        listed = await reader.get("/applications", at_least=submitted.position, limit="1")
        assert listed.json["data"][0]["application_id"] == id

        cancelled = await cancel(reader, id)
        assert cancelled.status == 200
        status = await writer.get(f"/applications/{id}/status", at_least=cancelled.position)
        assert status.json["status"] == "cancelled"


async def test_without_a_position_a_submission_is_seen_through_the_other_at_once(replicas: Replicas) -> None:
    users = replicas.user()
    for writer, reader in (users, users[::-1]) * 5:
        submitted = await writer.submit()
        assert (await reader.get(submitted.json["status_url"])).json["status"] == "pending"


async def test_a_failure_and_its_retry_are_read_through_either(replicas: Replicas) -> None:
    here, there = replicas.user()
    story = a_story(here).submitted(jobs=2).started().attempted(1, 2).refused(1).applied(2).failed()
    position = await replicas.happened(story)
    for user in (here, there):
        assert list((await user.get("/fail_applied", at_least=position)).json["data"]) == [f"{story.id.hex}-1"]
    retried = await retry(here, story.id.hex)
    for user in (here, there):
        assert (await user.get("/fail_applied", at_least=retried.position)).json["data"] == {}
        assert list((await user.get("/applied", at_least=retried.position)).json["data"]) == [f"{story.id.hex}-2"]


async def test_a_batch_is_followed_and_taken_back_through_the_other(replicas: Replicas) -> None:
    here, there = replicas.user()
    sent = await batch(here, "k")
    path = f"/batch/applications/{sent.json['batch_id']}"
    assert (await there.get(path, at_least=sent.position)).json["status"] == "pending"
    taken_back = await there.ask("DELETE", path)
    assert (taken_back.status, taken_back.json["cancelled"]) == (200, 2)
    told = await here.get(path, at_least=taken_back.position)
    assert (told.json["status"], told.json["cancelled"]) == ("cancelled", 2)
    (await here.ask("DELETE", path)).refused(409, "ERR_2003", "ApplicationAlreadyProcessedError")


# -- who comes first --------------------------------------------------------------------------------------------------


async def test_a_cancel_or_the_workers_start_comes_first_and_never_both(replicas: Replicas) -> None:
    """One race after the other, each begun by another of the three: so each side wins some."""
    users = replicas.user()
    for turn in range(21):
        id = (await users[turn % 2].submit()).json["application_id"]
        race = [cancel(users[0], id), cancel(users[1], id), replicas.work_begins(id)]
        results = await asyncio.gather(*race[turn % 3 :], *race[: turn % 3])
        await then_one_won(replicas, users, id, [result for result in results if isinstance(result, Answer)])


async def then_one_won(replicas: Replicas, users: tuple[User, User], id: str, cancels: list[Answer]) -> None:
    done = [answer for answer in cancels if answer.status == 200]
    refused = [answer for answer in cancels if answer.status != 200]
    names = await replicas.names(id)
    if done:
        assert (names, len(done)) == (["submitted", "cancelled"], 1)
        refused[0].refused(409, "ERR_2003", "ApplicationAlreadyProcessedError")
    else:
        assert names == ["submitted", "processing_started"]
        for answer in refused:
            answer.refused(409, "ERR_2002", "ApplicationStateError")
    for user in users:
        status = await user.get(f"/applications/{id}/status", at_least=await replicas.event_store.log.head())
        assert status.json["status"] == ("cancelled" if done else "processing")


async def test_items_of_a_batch_are_taken_back_or_started_and_never_both(replicas: Replicas) -> None:
    users = replicas.user()
    for _ in range(5):
        items = orjson.dumps([{"jobs": [{}]}] * 6)
        sent = await _post(users[0], "/batch/applications", uuid4().hex, part("items", items))
        path, ids = (
            f"/batch/applications/{sent.json['batch_id']}",
            [one["application_id"] for one in sent.json["results"]],
        )
        starts = asyncio.gather(*map(replicas.work_begins, ids[::2]))
        first, second = await asyncio.gather(*(user.ask("DELETE", path) for user in users))
        await starts
        done, refused = sorted((first, second), key=lambda answer: answer.status)
        refused.refused(409, "ERR_2003", "ApplicationAlreadyProcessedError")
        ends = [(await replicas.names(id))[1:] for id in ids]
        assert ends.count(["cancelled"]) == done.json["cancelled"] >= 3
        assert ends.count(["cancelled"]) + ends.count(["processing_started"]) == len(ids)


# -- restarts and kills -----------------------------------------------------------------------------------------------


async def test_after_a_restart_of_both_the_answer_is_the_same(replicas: Replicas) -> None:
    users = replicas.user()
    id = await failed_of(replicas, users[0])
    firsts = [await submission_with_cv(users[0], "a"), await batch(users[1], "b"), await retry(users[0], id, "c")]
    await replicas.restart()
    for user in users:
        again = [await submission_with_cv(user, "a"), await batch(user, "b"), await retry(user, id, "c")]
        for replay, first in zip(again, firsts, strict=True):
            is_replay(replay, first)
    assert len(await replicas.submitted_by(users[0])) == 1 + 2 + 1  # the last one is what was retried


POSTS: dict[str, Post] = {
    f"k{number}": post for number, post in enumerate([submission, submission_with_cv, batch, submission] * 2)
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("turn", range(KILLS))
async def test_killed_amid_duplicates_it_leaves_one_application_for_each_key(replicas: Replicas, turn: int) -> None:
    users = replicas.user()
    survivor = users[1 - turn % 2]
    sent = {key: [post(user, key) for user in users * 4] for key, post in POSTS.items()}
    await so_many_answered([one for duplicates in sent.values() for one in duplicates], 1 + 7 * turn % 40)

    async with replicas.killed((FIRST, SECOND)[turn % 2]):
        told = {key: [await answer_or_none(one) for one in duplicates] for key, duplicates in sent.items()}
        ends = {key: await in_the_end(survivor, key) for key in POSTS}
        for key, end in ends.items():
            then_all_got_the_same([answer for answer in told[key] if answer], end)
        made = sorted(id for end in ends.values() for id in ids_of(end))
        assert sorted(await replicas.submitted_by(survivor)) == made

    for key, post in POSTS.items():
        for user in users:
            is_replay(await post(user, key), ends[key])
    assert sorted(await replicas.submitted_by(survivor)) == made


def then_all_got_the_same(answers: list[Answer], end: Answer) -> None:
    done = [answer for answer in answers if answer.status == 200]
    assert {answer.status for answer in answers} <= {200, 409}
    assert {(answer.body, answer.position) for answer in done} <= {(end.body, end.position)}
    assert sum("X-Idempotency-Replayed" not in answer.headers for answer in (*done, end)) <= 1


async def so_many_answered(posts: list["asyncio.Task[Answer]"], count: int) -> None:
    while sum(post.done() for post in posts) < count:
        await asyncio.wait([post for post in posts if not post.done()], return_when=asyncio.FIRST_COMPLETED)


async def in_the_end(user: User, key: str) -> Answer:
    """Sent until it is no longer asked to come again."""
    for _ in range(10):
        answer = await POSTS[key](user, key)
        if answer.status == 200:
            return answer
        answer.refused(409, "ERR_9001", "DuplicateRequestError")
    raise AssertionError(f"{key} is never answered")


def ids_of(answer: Answer) -> list[str]:
    results = answer.json.get("results")
    return [one["application_id"] for one in results] if results else [answer.json["application_id"]]
