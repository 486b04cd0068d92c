"""One trace from the request to what can be read, over all processes, as a real OTLP receiver gets it."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.service import Client, Service, TookTooLong, until
from tests.otlp_receiver import Receiver, Seen, receiving

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ANOTHER = "00-80e1afed08e019fc1110464cfa66635c-7a085853722dc6d2-01"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def service(
    tmp_path: Path, mongodb_uri: str, mongo_database: str, rabbitmq_url: str, event_store_url: str, receiver: Receiver
) -> Service:
    return Service.on(
        tmp_path,
        mongodb=mongodb_uri,
        database=mongo_database,
        rabbitmq=rabbitmq_url,
        event_store=event_store_url,
        TRACING_ENABLED="true",
        TRACING_EXPORTER="otlp",
        OTLP_ENDPOINT=receiver.url,
    )


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

    async def reaches(self, complete: Callable[["Trace"], bool]) -> None:
        """Waits until it is as it should be, and prints it if it never is."""

        async def look() -> bool:
            return complete(self)

        try:
            await until(look, "")
        except TookTooLong:
            pytest.fail(str(self))

    def __str__(self) -> str:
        return "\n".join(f"{one.role} {one.kind} {one.name}: {one.parent_id} <- {one.id}" for one in self.spans)


async def post(client: Client, path: str, caller: str = CALLER, **fields: str) -> dict[str, Any]:
    """As a caller who is traced himself."""
    headers = {**client.headers, "traceparent": caller}
    async with client.http.post(client.url + path, data=fields, headers=headers) as response:
        assert response.status == 200, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


def jobs(*titles: str) -> dict[str, Any]:
    return {"jobs": [{"title": title, "portal": "sandbox"} for title in titles]}


def then_each_span_has_its_parent(trace: Trace) -> None:
    known = {trace.callers_span, *(span.id for span in trace.spans)}
    assert [span for span in trace.spans if span.parent_id not in known] == []


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
    await trace.reaches(lambda it: len(it.named(process)) == 2 and bool(it.below(it.named(process)[1], "project")))
    then_each_span_has_its_parent(trace)

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
    then_logs_tell_the_trace(service, trace)


def then_nothing_private_is_told(receiver: Receiver, client: Client) -> None:
    told = repr(receiver.spans)
    for private in ("Baker", client.headers["Authorization"].removeprefix("Bearer "), "ada"):
        assert private not in told


def then_logs_tell_the_trace(service: Service, trace: Trace) -> None:
    for role, event_type in (("api", "http_request"), ("worker", "application.success")):
        lines = [json.loads(line) for line in service.log(role).splitlines()]
        assert [line for line in lines if line["event_type"] == event_type and line.get("trace_id") == trace.id], role


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
    await trace.reaches(lambda it: len(it.named("submit to portal")) == len(it.named(process)) == 3)
    request = trace.only("POST /batch/applications")
    assert {one.parent_id for one in trace.named(process)} == {one.id for one in trace.below(request, publish)}
    await trace.reaches(lambda it: all(it.below(one, "project") for one in it.named(process)))
    then_each_span_has_its_parent(trace)

    await post(client, f"/applications/{ids[2]}/retry", ANOTHER)
    retried = Trace(receiver, ANOTHER)
    await retried.reaches(lambda it: bool(it.named("submit to portal")) and bool(it.named(process)))
    request = retried.only("POST /applications/{id}/retry")
    assert request.parent_id == retried.callers_span
    assert [one.id for one in retried.below(request, publish)] == [retried.only(process).parent_id]
    then_each_span_has_its_parent(retried)


async def test_what_is_not_kept_makes_no_spans_and_still_has_its_ids(service: Service, receiver: Receiver) -> None:
    service.settings["TRACING_SAMPLE_RATE"] = "0"
    async with service.running() as client:
        answer = await post(client, "/applications", jobs=json.dumps(jobs("Baker")))
        await client.all_ended([answer["application_id"]])
        then_logs_tell_the_trace(service, Trace(receiver))
    assert receiver.spans == []
