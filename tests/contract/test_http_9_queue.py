"""Queue administration, on a real broker (contract http.md 9, messaging.md 4)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from infra.messages import QueueKind, messages_of
from tests.api import Answer, Api, User, a_story, running_api, settings_for, until
from tests.builders import ApplicationStory
from tests.queues import Queues

pytestmark = pytest.mark.asyncio(loop_scope="module")

REPROCESS = "/queue/dlq/reprocess"


@pytest.fixture(scope="module")
def queues(rabbitmq_url: str) -> Queues:
    return Queues(rabbitmq_url, "contract-9-")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def busy(mongodb_uri: str, api_database: str, api_folder: Path, queues: Queues) -> AsyncIterator[Api]:
    """An API with a broker."""
    names = queues.names
    settings = settings_for(
        f"sqlite:///{api_folder}/queues.db",
        mongodb_uri,
        f"{api_database}_queues",
        rabbitmq_url=queues.url,
        application_processing_queue=names.processing,
        middleware_queue=names.notifications,
        application_dlq=names.dead_letters,
    )
    async with running_api(settings, projected=False) as busy:

        async def connected() -> bool:
            return (await busy.user().get("/queue/status")).status == 200

        await until(connected, "the API has found the broker")
        yield busy
    await queues.remove()


@pytest_asyncio.fixture(loop_scope="module")
async def letters(queues: Queues) -> AsyncIterator[Queues]:
    """The queues, with no dead letter."""
    await queues.remove()
    await queues.make(queues.names.dead_letters)
    yield queues


def operator(api: Api) -> User:
    return api.user(is_admin=True, admin_role="operator")


async def reprocess(user: User, limit: int | None = None, key: str | None = None) -> Answer:
    headers = {"X-Idempotency-Key": key} if key else {}
    return await user.ask("POST", REPROCESS, headers, params={} if limit is None else {"limit": str(limit)})


async def dead_letter(api: Api, queues: Queues, story: ApplicationStory) -> None:
    """As the relay sends it."""
    recorded = story.recorded()
    for one in recorded:
        for message in messages_of(one, queues.names):
            if message.queue is QueueKind.DEAD_LETTERS:
                await queues.put(queues.names.dead_letters, message.body, message_id=message.message_id)


async def failed_with_letter(api: Api, queues: Queues) -> ApplicationStory:
    story = a_story(api.user()).submitted().started().attempted().refused().failed()
    await api.happened(story)
    await dead_letter(api, queues, story)
    return story


async def status_of(api: Api, story: ApplicationStory) -> Any:
    owner = story.recorded()[0].owner.user_id
    return (await api.user(owner).get(f"/applications/{story.id.hex}/events")).json["events"][-1]["type"]


# -- status -----------------------------------------------------------------------------------------------------------


async def test_queues_that_do_not_exist_are_empty(busy: Api, queues: Queues) -> None:
    await queues.remove()
    answer = await busy.user().get("/queue/status")
    names = queues.names
    assert answer.json == {
        "queues": [
            {"name": name, "messages": 0, "consumers": 0, "rate": answer.json["queues"][n]["rate"]}
            for n, name in enumerate((names.processing, names.notifications))
        ],
        "dlq": {"name": names.dead_letters, "messages": 0, "consumers": 0},
    }


async def test_it_counts_what_is_ready(busy: Api, letters: Queues) -> None:
    await letters.put(letters.names.dead_letters, b"{}")
    await letters.until_depth(letters.names.dead_letters, 1)
    assert (await busy.user().get("/queue/status")).json["dlq"]["messages"] == 1


@pytest.mark.parametrize("call", ["GET /queue/status", "DELETE /queue/dlq", f"POST {REPROCESS}"])
async def test_without_the_broker_it_says_so(api: Api, call: str) -> None:
    method, path = call.split()
    answer = await operator(api).ask(method, path)
    answer.refused(503, "ERR_6002", "QueueConnectionError")
    assert answer.headers["Retry-After"] == "5"


# -- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"is_admin": True},
        {"admin_role": "admin"},
        {"is_admin": True, "admin_role": "viewer"},
        {"is_admin": "true", "admin_role": "admin"},
        {"is_admin": 1, "admin_role": "admin"},
        {"is_admin": True, "admin_role": ["admin"]},
    ],
)
@pytest.mark.parametrize("call", ["DELETE /queue/dlq", f"POST {REPROCESS}"])
async def test_purge_and_reprocess_need_the_claim(
    busy: Api, letters: Queues, call: str, claims: dict[str, Any]
) -> None:
    method, path = call.split()
    await letters.put(letters.names.dead_letters, b"{}")
    (await busy.user(**claims).ask(method, path)).refused(403, "ERR_8003", "InsufficientPermissionsError")
    await letters.until_depth(letters.names.dead_letters, 1)


async def test_the_claim_is_asked_for_before_anything_else(busy: Api, letters: Queues) -> None:
    admin = operator(busy)
    assert (await reprocess(admin, key="k")).status == 200
    former = busy.user(id=admin.id)
    (await reprocess(former, key="k")).refused(403, "ERR_8003", "InsufficientPermissionsError")
    (await reprocess(former, -1)).refused(403, "ERR_8003", "InsufficientPermissionsError")


@pytest.mark.parametrize("role", ["operator", "admin"])
async def test_both_roles_may(busy: Api, letters: Queues, role: str) -> None:
    assert (await busy.user(is_admin=True, admin_role=role).ask("DELETE", "/queue/dlq")).status == 200


# -- purge ------------------------------------------------------------------------------------------------------------


async def test_a_purge_tells_how_many_there_were(busy: Api, letters: Queues) -> None:
    story = await failed_with_letter(busy, letters)
    await letters.put(letters.names.dead_letters, b"no json")
    await letters.until_depth(letters.names.dead_letters, 2)
    answer = await operator(busy).ask("DELETE", "/queue/dlq")
    assert answer.json == {"purged": 2, "queue": letters.names.dead_letters}
    await letters.until_depth(letters.names.dead_letters, 0)
    assert await status_of(busy, story) == "application.failed"


async def test_a_queue_that_is_not_there_has_nothing_to_purge(busy: Api, queues: Queues) -> None:
    await queues.remove()
    assert (await operator(busy).ask("DELETE", "/queue/dlq")).json["purged"] == 0
    assert (await reprocess(operator(busy))).json == {"moved": 0, "skipped": 0}


# -- reprocess --------------------------------------------------------------------------------------------------------


async def test_a_failed_application_is_tried_again_and_its_letter_goes(busy: Api, letters: Queues) -> None:
    story = await failed_with_letter(busy, letters)
    await letters.until_depth(letters.names.dead_letters, 1)
    admin = operator(busy)
    answer = await reprocess(admin)
    assert (answer.status, answer.json) == (200, {"moved": 1, "skipped": 0})
    await letters.until_depth(letters.names.dead_letters, 0)
    recorded = (await busy.event_store.log.read_stream(story.id))[-1]
    assert (recorded.event.NAME, recorded.position) == ("application.retry_requested", answer.position)
    assert recorded.metadata.cause.actor == f"operator:{admin.id}"
    assert recorded.metadata.cause.causation_id == f"{story.id.hex}-{len(story.events)}-dead_letters"


async def test_a_letter_of_another_failure_only_goes(busy: Api, letters: Queues) -> None:
    """Retried meanwhile and failed again: the newer failure has a letter of its own."""
    story = a_story(busy.user()).submitted().started().attempted().refused().failed()
    again = story.retried().started().attempted().refused().failed()
    await busy.happened(again)
    await dead_letter(busy, letters, story)
    await letters.put(letters.names.dead_letters, {"application_id": "unknown"})
    await letters.until_depth(letters.names.dead_letters, 2)
    assert (await reprocess(operator(busy))).json == {"moved": 0, "skipped": 2}
    await letters.until_depth(letters.names.dead_letters, 0)
    assert await status_of(busy, story) == "application.failed"


async def test_the_same_letter_twice_moves_once(busy: Api, letters: Queues) -> None:
    """As after a kill between the append and the removal."""
    story = await failed_with_letter(busy, letters)
    await dead_letter(busy, letters, story)
    await letters.until_depth(letters.names.dead_letters, 2)
    assert (await reprocess(operator(busy))).json == {"moved": 1, "skipped": 1}
    events = await busy.event_store.log.read_stream(story.id)
    assert [one.event.NAME for one in events].count("application.retry_requested") == 1


async def test_what_cannot_be_read_stays_and_holds_nothing_up(busy: Api, letters: Queues) -> None:
    unreadable = [
        b"no json",
        b"[]",
        b'{"application_id": null}',
        b'{"application_id": "abc", "original_message": {"raw": "{\\"application_id\\": \\"abc\\"}"}}',
        b'{"application_id": "abc", "original_message": {"raw_base64": "/w=="}}',
    ]
    for body in unreadable:
        await letters.put(letters.names.dead_letters, body)
    await failed_with_letter(busy, letters)
    await letters.until_depth(letters.names.dead_letters, 6)
    assert (await reprocess(operator(busy))).json == {"moved": 1, "skipped": 5}
    await letters.until_depth(letters.names.dead_letters, 5)


async def test_no_more_than_the_limit_are_looked_at(busy: Api, letters: Queues) -> None:
    for _ in range(3):
        await failed_with_letter(busy, letters)
    await letters.until_depth(letters.names.dead_letters, 3)
    assert (await reprocess(operator(busy), 2)).json == {"moved": 2, "skipped": 0}
    await letters.until_depth(letters.names.dead_letters, 1)


async def test_a_limit_may_be_beyond_every_number_of_letters(busy: Api, letters: Queues) -> None:
    await failed_with_letter(busy, letters)
    await letters.until_depth(letters.names.dead_letters, 1)
    assert (await reprocess(operator(busy), 10**30)).json == {"moved": 1, "skipped": 0}


async def test_a_broker_that_refuses_is_told_without_its_words(busy: Api, queues: Queues) -> None:
    """The queue is another connection's alone."""
    name = queues.names.dead_letters
    await queues.remove(name)
    async with queues.channel() as channel:
        await channel.declare_queue(name, exclusive=True)
        for method, path in (("GET", "/queue/status"), ("DELETE", "/queue/dlq"), ("POST", REPROCESS)):
            answer = await operator(busy).ask(method, path)
            answer.refused(500, "ERR_6001", "QueueOperationError")
            assert name not in answer.body.decode()


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5", "9" * 5000])
async def test_a_limit_that_is_none_is_refused(busy: Api, letters: Queues, limit: str) -> None:
    answer = await operator(busy).ask("POST", REPROCESS, params={"limit": limit})
    assert answer.refused(422, "ERR_1001", "ValidationError")["details"][0]["field"] == "limit"


async def test_with_a_key_it_is_done_once(busy: Api, letters: Queues) -> None:
    admin = operator(busy)
    await failed_with_letter(busy, letters)
    await letters.until_depth(letters.names.dead_letters, 1)
    first = await reprocess(admin, key="k")
    assert first.json == {"moved": 1, "skipped": 0}
    await failed_with_letter(busy, letters)
    await letters.until_depth(letters.names.dead_letters, 1)
    again = await reprocess(admin, key="k")
    assert (again.body, again.position) == (first.body, first.position)
    assert again.headers["X-Idempotency-Replayed"] == "true"
    await letters.until_depth(letters.names.dead_letters, 1)
    (await reprocess(admin, 1, key="k")).refused(409, "ERR_9001", "DuplicateRequestError")
