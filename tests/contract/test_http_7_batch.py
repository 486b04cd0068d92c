"""Batches (contract http.md 7)."""

from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from domain.application import refused
from domain.application_events import ApplicationCancelled, ApplicationSubmitted, Delivery
from domain.batch import BatchCancelled, BatchSubmitted
from domain.commands import ApplicationCommands
from domain.event import Cause
from domain.job import Documents
from domain.ports import Claim
from domain.retry import RetryPolicy
from infra import metrics
from infra.clock import SystemClock
from tests.api import PDF, Answer, Api, Part, User, cv_part, part

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORKER = Cause("worker:one")
PATH = "/batch/applications"
THREE: list[dict[str, Any]] = [
    {"jobs": [{"title": "Baker"}]},
    {"jobs": [{}, {}], "style": "modern"},
    {"jobs": [{}], "style": None},
]


async def send(user: User, items: object = THREE, *more: Part, key: str | None = None) -> Answer:
    document = items if isinstance(items, bytes) else orjson.dumps(items)
    headers = {"Content-Type": "multipart/form-data; boundary=b"} | ({"X-Idempotency-Key": key} if key else {})
    parts = [part("items", document), *more]
    body = b"".join(b"--b\r\n" + told.encode() + b"\r\n\r\n" + content + b"\r\n" for told, content in parts)
    return await user.ask("POST", PATH, headers, data=body + b"--b--\r\n")


def ids(batch: Answer) -> list[str]:
    return [item["application_id"] for item in batch.json["results"]]


async def follow(user: User, batch: Answer, position: int) -> Any:
    answer = await user.get(f"{PATH}/{batch.json['batch_id']}", at_least=position)
    assert answer.status == 200, answer.body
    return answer.json


def commands_of(api: Api) -> ApplicationCommands:
    return ApplicationCommands(api.event_store.log, SystemClock(), RetryPolicy(5, 1.0, 1.0))


async def started(api: Api, id: str) -> int:
    """As a worker does it."""
    commands, holder = commands_of(api), Claim(f"application:{id}", "w", 5)
    loaded = await commands.load(UUID(id))
    assert loaded
    return (await commands.start(loaded, WORKER, holder)).position


async def ended(api: Api, id: str, *, applied: bool) -> int:
    """Of one job, as a worker does it."""
    commands, holder = commands_of(api), Claim(f"application:{id}", "w", 5)
    loaded = await commands.load(UUID(id))
    assert loaded
    loaded = await commands.start(loaded, WORKER, holder)
    loaded = await commands.begin_attempt(loaded, WORKER, 1, "sandbox", Delivery.AT_LEAST_ONCE, Documents())
    outcome = "SBX-1" if applied else refused("Position closed", "PortalRefusedError")
    return (await commands.settle(loaded, WORKER, 1, outcome, holder)).position


# -- submit -----------------------------------------------------------------------------------------------------------


async def test_a_batch_is_answered_with_its_applications(ada: User) -> None:
    answer = await send(ada)
    assert answer.status == 200
    assert list(answer.json) == ["batch_id", "status", "total", "results", "created_at"]
    assert (answer.json["status"], answer.json["total"]) == ("pending", 3)
    assert answer.json["results"] == [
        {"index": n, "application_id": id, "status": "pending", "error": None} for n, id in enumerate(ids(answer))
    ]


async def test_all_its_applications_exist_at_once_and_in_one_append(api: Api, ada: User) -> None:
    answer = await send(ada, THREE, cv_part(PDF))
    for n, id in enumerate(ids(answer)):
        assert (await ada.get(f"/applications/{id}/status")).json["status"] == "pending"
        [recorded] = await api.event_store.log.read_stream(UUID(id))
        assert isinstance(recorded.event, ApplicationSubmitted)
        assert (recorded.event.style, len(recorded.event.jobs)) == (THREE[n].get("style"), len(THREE[n]["jobs"]))
        assert recorded.event.cv
        assert await api.deps.cvs.read(recorded.event.cv.id) == PDF
        [batch] = await api.event_store.log.read_stream(UUID(answer.json["batch_id"]))
        assert (recorded.owner.batch_id, recorded.owner.batch_index) == (batch.stream_id, n)
        assert recorded.metadata.cause.causation_id == batch.metadata.event_id.hex
        assert recorded.position == batch.position - 3 + n
        assert isinstance(batch.event, BatchSubmitted)
        assert answer.position == batch.position


async def test_each_application_is_counted(ada: User) -> None:
    before = metrics.APPLICATIONS_SUBMITTED_TOTAL.value(user_type="authenticated")
    jobs = metrics.APPLICATION_JOBS_COUNT.count()
    await send(ada)
    assert metrics.APPLICATIONS_SUBMITTED_TOTAL.value(user_type="authenticated") == before + 3
    assert metrics.APPLICATION_JOBS_COUNT.count() == jobs + 3


async def test_a_hundred_items_are_taken_and_no_more(api: Api, ada: User) -> None:
    assert (await send(ada, [{"jobs": [{}]}] * 100)).json["total"] == 100
    head = await api.event_store.log.head()
    (await send(ada, [{"jobs": [{}]}] * 101)).refused(400, "ERR_1001", "ValidationError")
    assert await api.event_store.log.head() == head


@pytest.mark.parametrize(
    ("items", "status", "code", "field"),
    [
        (b"{", 400, "ERR_1001", "items"),
        (b"", 422, "ERR_1001", "items"),
        ([], 422, "ERR_1001", "items"),
        ({"jobs": []}, 422, "ERR_1001", "items"),
        (["x"], 422, "ERR_3002", "items[0]"),
        ([{"jobs": [{}]}, {}], 422, "ERR_3002", "items[1].jobs"),
        ([{"jobs": []}], 422, "ERR_3002", "items[0].jobs"),
        ([{"jobs": [{}]}] * 3 + [{"jobs": [{"title": 5}]}], 422, "ERR_3002", "items[3].jobs[0].title"),
        ([{"jobs": [{}], "style": 5}], 422, "ERR_3002", "items[0].style"),
        ([{"jobs": [{}], "style": "x" * 101}], 422, "ERR_3002", "items[0].style"),
    ],
)
async def test_one_bad_item_refuses_the_whole_batch(
    api: Api, ada: User, items: object, status: int, code: str, field: str
) -> None:
    head = await api.event_store.log.head()
    error = {"ERR_1001": "ValidationError", "ERR_3002": "InvalidJobDataError"}[code]
    refusal = (await send(ada, items)).refused(status, code, error)
    assert refusal["details"][0]["field"] == field
    assert await api.event_store.log.head() == head


async def test_a_cv_that_is_no_pdf_refuses_it(ada: User) -> None:
    (await send(ada, THREE, cv_part(b"no"))).refused(400, "ERR_4002", "InvalidResumeFormatError")


async def test_with_a_key_it_is_done_once(api: Api, ada: User) -> None:
    first, again = [await send(ada, key="k") for _ in range(2)]
    assert (again.body, again.position) == (first.body, first.position)
    assert again.headers["X-Idempotency-Replayed"] == "true"
    assert (await follow(ada, first, first.position))["total"] == 3
    (await send(ada, THREE[:1], key="k")).refused(409, "ERR_9001", "DuplicateRequestError")


# -- follow -----------------------------------------------------------------------------------------------------------


async def test_it_can_be_followed_at_once(still: Api) -> None:
    """Also while the read model stands still."""
    ada = still.user()
    batch = await send(ada)
    answer = await ada.get(f"{PATH}/{batch.json['batch_id']}")
    assert (answer.status, answer.json["status"], answer.json["results"]) == (200, "pending", batch.json["results"])


async def test_its_counts_follow_its_applications(api: Api, ada: User) -> None:
    batch = await send(ada, [{"jobs": [{}]}] * 3)
    first, second, third = ids(batch)
    await started(api, first)
    told = await follow(ada, batch, await ended(api, second, applied=True))
    assert (told["status"], told["processed"], told["succeeded"], told["completed_at"]) == ("processing", 1, 1, None)
    assert [item["status"] for item in told["results"]] == ["processing", "success", "pending"]
    await ended(api, first, applied=False)
    told = await follow(ada, batch, (await ada.ask("DELETE", f"/applications/{third}")).position)
    assert (told["status"], told["processed"], told["succeeded"], told["failed"]) == ("partial", 3, 1, 1)
    assert told["cancelled"] == 1
    assert told["results"][0]["error"] == "Position closed"
    assert told["results"][2]["error"] == "Cancelled by user"
    assert told["completed_at"] >= told["created_at"]
    assert list(told) == [
        *("batch_id", "status", "total", "processed", "succeeded", "failed", "cancelled", "results"),
        *("created_at", "completed_at"),
    ]


async def test_a_retried_item_takes_it_back_to_processing(api: Api, ada: User) -> None:
    batch = await send(ada, [{"jobs": [{}]}])
    [id] = ids(batch)
    assert (await follow(ada, batch, await ended(api, id, applied=False)))["status"] == "failed"
    retried = await ada.ask("POST", f"/applications/{id}/retry")
    told = await follow(ada, batch, retried.position)
    assert (told["status"], told["completed_at"], told["results"][0]["error"]) == ("processing", None, None)
    assert (await follow(ada, batch, await ended(api, id, applied=True)))["status"] == "completed"


# -- cancel -----------------------------------------------------------------------------------------------------------


async def test_what_is_pending_is_taken_back_in_one_append(api: Api, ada: User) -> None:
    batch = await send(ada, [{"jobs": [{}]}] * 3)
    first, *others = ids(batch)
    await started(api, first)
    answer = await ada.ask("DELETE", f"{PATH}/{batch.json['batch_id']}")
    assert (answer.status, answer.json["status"], answer.json["cancelled"]) == (200, "cancelled", 2)
    assert (answer.json["batch_id"], bool(answer.json["message"])) == (batch.json["batch_id"], True)
    cancelled = (await api.event_store.log.read_stream(UUID(batch.json["batch_id"])))[-1]
    assert isinstance(cancelled.event, BatchCancelled)
    assert cancelled.position == answer.position
    for n, id in enumerate(others):
        taken = (await api.event_store.log.read_stream(UUID(id)))[-1]
        assert isinstance(taken.event, ApplicationCancelled)
        assert taken.metadata.cause.causation_id == cancelled.metadata.event_id.hex
        assert taken.position == cancelled.position - 2 + n
    assert (await follow(ada, batch, answer.position))["status"] == "processing"
    assert (await follow(ada, batch, await ended(api, first, applied=True)))["status"] == "partial"


async def test_a_second_cancel_is_refused(ada: User) -> None:
    batch = await send(ada)
    path = f"{PATH}/{batch.json['batch_id']}"
    told = await follow(ada, batch, (await ada.ask("DELETE", path)).position)
    assert (told["status"], told["cancelled"]) == ("cancelled", 3)
    (await ada.ask("DELETE", path)).refused(409, "ERR_2003", "ApplicationAlreadyProcessedError")


async def test_what_has_ended_is_not_cancelled(api: Api, ada: User) -> None:
    batch = await send(ada, [{"jobs": [{}]}])
    await ended(api, ids(batch)[0], applied=True)
    refused = await ada.ask("DELETE", f"{PATH}/{batch.json['batch_id']}")
    refused.refused(409, "ERR_2003", "ApplicationAlreadyProcessedError")


# -- whose ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_anothers_answers_like_an_unknown_one(ada: User, bob: User, method: str) -> None:
    batch = await send(ada)
    application = ids(batch)[0]
    for id in (batch.json["batch_id"], uuid4().hex, "odd", application):
        refusal = (await bob.ask(method, f"{PATH}/{id}")).refused(404, "ERR_1002", "NotFoundError")
        assert refusal["message"] == f"Batch not found: {id}"
    assert (await ada.ask(method, f"{PATH}/{application}")).status == 404
