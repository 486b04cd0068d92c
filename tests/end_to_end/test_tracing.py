"""One trace from the request to what can be read, over all processes, as a real OTLP receiver gets it."""

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.tracing_sdk import SEND_SECONDS
from tests.end_to_end.service import Client, Service, TookTooLong, until
from tests.otlp_receiver import Receiver, Seen, receiving
from tests.ports import free_ports

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ANOTHER = "00-80e1afed08e019fc1110464cfa66635c-7a085853722dc6d2-01"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def traced_to(
    tmp_path: Path, mongodb_uri: str, mongo_database: str, rabbitmq_url: str
) -> Callable[[str, str], Service]:
    """A service on that event store, which sends its spans to that address."""

    def make(event_store: str, receiver: str) -> Service:
        return Service.on(
            tmp_path,
            mongodb=mongodb_uri,
            database=mongo_database,
            rabbitmq=rabbitmq_url,
            event_store=event_store,
            TRACING_ENABLED="true",
            TRACING_EXPORTER="otlp",
            OTLP_ENDPOINT=receiver,
        )

    return make


@pytest.fixture
def service(traced_to: Callable[[str, str], Service], deployed_store_url: str, receiver: Receiver) -> Service:
    return traced_to(deployed_store_url, receiver.url)


@pytest.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    async with service.running() as client:
        yield client


class Trace:
    """The spans that have come so far of the trace that a caller began."""

    def __init__(self, receiver: Receiver, caller: str = CALLER) -> None:
        self._receiver = receiver
        _, self.id, self.callers_span, _ = caller.split("-")

    @property
    def spans(self) -> list[Seen]:
        return sorted((span for span in self._receiver.spans if span.trace_id == self.id), key=lambda span: span.start)

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.spans if span.name == name]

    def only(self, name: str) -> Seen:
        [span] = self.named(name)
        return span

    def below(self, parent: Seen, name: str) -> list[Seen]:
        return [span for span in self.named(name) if span.parent_id == parent.id]

    async def has(self, **expected: int) -> None:
        """Waits until so many spans of a name (`_` for a blank) are there, with all that they hang on or link to.

        Each process sends its own, when it thinks fit. Prints the trace if they do not come.
        """
        wanted = Counter({name.replace("_", " "): count for name, count in expected.items()})

        async def look() -> bool:
            known, spans = {span.ids for span in self._receiver.spans}, self.spans
            parents = {(self.id, span.parent_id) for span in spans} - {(self.id, self.callers_span)}
            links = {link for span in spans for link in span.links}
            return wanted <= Counter(_kind_of(span) for span in spans) and parents | links <= known

        try:
            await until(look, "")
        except TookTooLong:
            pytest.fail(f"{wanted}\n{self}")

    def __str__(self) -> str:
        return "\n".join(f"{one.role} {one.kind} {one.name}: {one.parent_id} <- {one.id}" for one in self.spans)


def _kind_of(span: Seen) -> str:
    """Its name, without that of a queue."""
    return span.name.partition(" test_")[0]


async def post(client: Client, path: str, caller: str = CALLER, **fields: str) -> dict[str, Any]:
    """As a caller who is traced himself."""
    headers = {**client.headers, "traceparent": caller}
    async with client.http.post(client.url + path, data=fields, headers=headers) as response:
        assert response.status == 200, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


def jobs(*titles: str) -> dict[str, Any]:
    return {"jobs": [{"title": title, "portal": "sandbox"} for title in titles]}


def then_it_is_linked_with_what_served_it(receiver: Receiver, span: Seen, name: str) -> None:
    """Both ways: work that serves many stands in a trace of its own."""
    [link] = span.links
    [shared] = [one for one in receiver.spans if one.ids == link]
    assert (shared.name, shared.parent_id, shared.role) == (name, None, span.role)
    assert shared.trace_id != span.trace_id
    assert {trace_id for trace_id, _ in shared.links} == {span.trace_id}


async def test_one_trace_leads_from_the_request_over_a_retry_to_what_can_be_read(
    client: Client, receiver: Receiver, service: Service
) -> None:
    work = f"publish {service.settings['APPLICATION_PROCESSING_QUEUE']}"
    process = f"process {service.settings['APPLICATION_PROCESSING_QUEUE']}"
    answer = await post(client, "/applications", jobs=json.dumps(jobs("Baker [fail:1]", "Cook")))
    assert await client.all_ended([answer["application_id"]]) == {answer["application_id"]: "success"}
    trace = Trace(receiver)
    await trace.has(publish=5, process=2, submit_to_portal=3, project=3)

    request = trace.only("POST /applications")
    assert (request.parent_id, request.kind, request.role) == (trace.callers_span, "server", "api")
    assert request.attributes["http.response.status_code"] == 200
    [append] = trace.below(request, "append")
    assert append.attributes["app_manager.stream_id"] == answer["application_id"]
    then_it_is_linked_with_what_served_it(receiver, append, "group commit")

    first, second = trace.named(process)
    [published] = trace.below(request, work)
    [again] = trace.below(first, work)
    assert (first.parent_id, second.parent_id) == (published.id, again.id)
    assert {(one.kind, one.role) for one in (published, again)} == {("producer", "relay")}
    assert {(one.kind, one.role) for one in (first, second)} == {("consumer", "worker")}
    calls = [call for attempt in (first, second) for call in trace.below(attempt, "submit to portal")]
    assert Counter(call.attributes["app_manager.outcome"] for call in calls) == {"Applied": 2, "NotTaken": 1}
    assert [call.attributes["app_manager.outcome"] != "Applied" for call in calls] == [call.failed for call in calls]
    assert len(trace.below(first, "write documents")) == 2
    assert trace.below(second, "write documents") == []

    for cause in (request, first, second):
        for projected in trace.below(cause, "project"):
            assert projected.role == "projector"
            then_it_is_linked_with_what_served_it(receiver, projected, "project")
    assert trace.below(request, "project")
    then_nothing_private_is_told(receiver, client)
    await logs_tell_the_trace(service, trace)


def then_nothing_private_is_told(receiver: Receiver, client: Client) -> None:
    told = repr(receiver.spans)
    for private in ("Baker", client.headers["Authorization"].removeprefix("Bearer ")):
        assert private not in told


async def logs_tell_the_trace(service: Service, trace: Trace) -> None:
    """Waits for it: a role may log what it has done after others have seen it done."""
    for role, event_type in (("api", "http_request"), ("worker", "application.success")):
        wanted = (event_type, trace.id)

        async def told(role: str = role, wanted: tuple[str, str] = wanted) -> bool:
            return wanted in [(line["event_type"], line.get("trace_id")) for line in service.logged(role)]

        await until(told, f"{role} logs {wanted}")


async def test_a_batch_is_one_trace_and_a_retry_by_hand_is_one_of_its_own(
    client: Client, receiver: Receiver, service: Service
) -> None:
    publish = f"publish {service.settings['APPLICATION_PROCESSING_QUEUE']}"
    process = f"process {service.settings['APPLICATION_PROCESSING_QUEUE']}"
    items = json.dumps([jobs("Baker"), jobs("Miller"), jobs("Cook [reject]")])
    batch = await post(client, "/batch/applications", items=items)
    ids = [item["application_id"] for item in batch["results"]]
    assert sorted((await client.all_ended(ids)).values()) == ["failed", "success", "success"]
    trace = Trace(receiver)
    await trace.has(publish=12, process=3, submit_to_portal=3, project=4)
    request = trace.only("POST /batch/applications")
    assert {one.parent_id for one in trace.named(process)} == {one.id for one in trace.below(request, publish)}
    assert all(trace.below(one, "project") for one in trace.named(process))

    await post(client, f"/applications/{ids[2]}/retry", ANOTHER)
    retried = Trace(receiver, ANOTHER)
    await retried.has(publish=2, process=1, submit_to_portal=1, project=1)
    request = retried.only("POST /applications/{id}/retry")
    assert request.parent_id == retried.callers_span
    assert [one.id for one in retried.below(request, publish)] == [retried.only(process).parent_id]


async def test_what_is_not_kept_makes_no_spans_and_still_has_its_ids(service: Service, receiver: Receiver) -> None:
    service.settings["TRACING_SAMPLE_RATE"] = "0"
    async with service.running() as client:
        answer = await post(client, "/applications", jobs=json.dumps(jobs("Baker")))
        await client.all_ended([answer["application_id"]])
        await logs_tell_the_trace(service, Trace(receiver))
    assert receiver.spans == []


# -- a receiver in trouble --------------------------------------------------------------------------------------------


@contextmanager
def a_receiver_that_is(trouble: str) -> Iterator[str]:
    """Its address."""
    if trouble == "slow":
        with receiving(Receiver(pause=2)) as receiver:
            yield receiver.url
    elif trouble == "refusing":
        with receiving(Receiver(refuses=True)) as receiver:
            yield receiver.url
    else:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as half_dead:  # it takes connections and reads nothing
            url = f"http://127.0.0.1:{half_dead.getsockname()[1]}"
            if trouble == "away":
                half_dead.close()
            yield url


@pytest.mark.parametrize("trouble", ["away", "half-way dead", "refusing", "slow"])
async def test_a_receiver_in_trouble_disturbs_nobody(
    trouble: str, traced_to: Callable[[str, str], Service], sqlite_url: str
) -> None:
    with a_receiver_that_is(trouble) as url:
        service = traced_to(sqlite_url, url)
        async with service.running() as client:
            seconds = [await seconds_of(client.submit(f"Baker {number}")) for number in range(100)]
            assert sorted(seconds)[90] < 2.0
            assert max(seconds) < SEND_SECONDS
            ids = [await client.submit("Miller [fail:1]"), await client.submit("Cook")]
            assert set((await client.all_ended(ids)).values()) == {"success"}
            began = time.perf_counter()
            assert (
                await asyncio.gather(*(service.stop(role) for role in ("api", "relay", "worker", "projector")))
                == [0] * 4
            )
            assert time.perf_counter() - began < 10


async def seconds_of(submission: Awaitable[str]) -> float:
    began = time.perf_counter()
    await submission
    return time.perf_counter() - began


async def test_a_receiver_that_comes_late_is_found(traced_to: Callable[[str, str], Service], sqlite_url: str) -> None:
    [port] = free_ports(1)
    service = traced_to(sqlite_url, f"http://127.0.0.1:{port}")
    async with service.running("api", "projector") as client:
        await client.submit("Baker")
        with receiving(port=port) as receiver:

            async def later_ones_come() -> bool:
                await client.submit("Miller")
                return bool(receiver.spans)

            await until(later_ones_come, "the receiver is found")
