"""Tracing by itself: what it costs when off, what is kept, where spans go, and that no receiver holds anybody up."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from infra import tracing
from infra.settings import Settings
from infra.tracing import NO_SPAN, Kind, Span
from infra.tracing_sdk import CLOSE_SECONDS, SPANS_WAITING, SdkTracer, context_of, exporter
from tests.otlp_receiver import Receiver, receiving

KEPT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LEFT_OUT = f"{KEPT[:-2]}00"
WITHOUT_PACKAGES = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Missing())
"""


def tracer_at(rate: float) -> tuple[SdkTracer, InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    return SdkTracer(kept, rate, Resource.get_empty()), kept


def names(exporter: InMemorySpanExporter) -> list[str]:
    return [span.name for span in exporter.get_finished_spans()]


# -- off, or not there ------------------------------------------------------------------------------------------------


def test_off_nothing_of_opentelemetry_is_imported() -> None:
    roles = "api.server, api.cli.roles, consumers.worker, consumers.relay, projections.projector"
    looks = "import sys; print([name for name in sys.modules if name.startswith(('opentelemetry', 'grpc'))])"
    told = subprocess.check_output([sys.executable, "-c", f"import {roles}; {looks}"], text=True)
    assert told == "[]\n"


def test_off_every_span_is_the_same_one_that_does_nothing() -> None:
    assert not tracing.is_on()
    with tracing.entry("a", Kind.SERVER, KEPT) as entry, tracing.span("b") as span, tracing.shared("c", [span]) as work:
        assert {id(one) for one in (entry, span, work, tracing.current())} == {id(NO_SPAN)}
        assert tracing.traceparent() is None
    assert tracing.mongo_listeners() == ()


@pytest.mark.parametrize("command", ["serve", "project", "relay", "work", "up"])
def test_switched_on_without_its_packages_the_start_stops_with_one_line(command: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_PACKAGES)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TRACING_ENABLED": "true"}
    ended = subprocess.run(
        [sys.executable, "-m", "api.cli", command],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "Error: TRACING_ENABLED needs packages that are not installed: "
        "pip install 'application-manager-service[tracing]'\n"
    )


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_a_span_belongs_to_what_is_under_way_and_to_nothing_else() -> None:
    tracer, seen = tracer_at(1)
    assert tracer.span("of nobody", Kind.INTERNAL, {}) is NO_SPAN
    with tracer.entry("request", Kind.SERVER, None) as request, tracer.span("part", Kind.CLIENT, {}) as part:
        assert tracer.current().traceparent == part.traceparent
        assert part.trace_id == request.trace_id
    assert tracer.current() is NO_SPAN
    tracer.close()
    assert names(seen) == ["part", "request"]


@pytest.mark.parametrize(
    "unusable",
    [
        None,
        "",
        "nonsense",
        f"00-{'0' * 32}-{'0' * 16}-01",
        f"00-{'1' * 32}-{'0' * 16}-01",
        f"00-{'1' * 32}-{'0' * 16}-00",
        f"00-{'0' * 32}-{'1' * 16}-00",
    ],
)
def test_what_names_no_trace_begins_one(unusable: str | None) -> None:
    assert context_of(unusable) is None
    tracer, _ = tracer_at(1)
    with tracer.entry("request", Kind.SERVER, unusable) as request:
        assert request.recording
    tracer.close()


def test_the_rate_holds_for_traces_from_outside_too() -> None:
    for rate, kept in ((1.0, True), (0.0, False)):
        tracer, _ = tracer_at(rate)
        with tracer.entry("request", Kind.SERVER, KEPT) as request:
            assert request.recording is kept
            assert request.trace_id == KEPT.split("-")[1]
        tracer.close()


def test_what_its_sender_does_not_keep_is_not_kept_and_handed_on_so() -> None:
    tracer, seen = tracer_at(1)
    with tracer.entry("request", Kind.SERVER, LEFT_OUT):
        handed_on = tracer.current().traceparent
        assert tracer.span("part", Kind.INTERNAL, {}) is NO_SPAN
        assert tracer.current().traceparent == handed_on
    tracer.close()
    assert handed_on is not None
    assert handed_on.split("-")[1::2] == LEFT_OUT.split("-")[1::2]
    assert names(seen) == []


def test_about_as_many_are_kept_as_the_rate_says_and_all_processes_agree_which() -> None:
    tracer, seen = tracer_at(0.1)
    the_librarys = TraceIdRatioBased(0.1)
    for number in range(2_000):
        tracer.entry("request", Kind.SERVER, None).end()
        came = f"00-{number * 2**117 + number * 2**53 + 1:032x}-{number + 1:016x}-01"
        context, span = context_of(came), tracer.entry("from outside", Kind.SERVER, came)
        assert context is not None
        told = the_librarys.should_sample(None, context.trace_id, "from outside")
        assert (told.decision is Decision.RECORD_AND_SAMPLE) is span.recording
        span.end()
    tracer.close()
    spans = seen.get_finished_spans()
    assert 120 < names(seen).count("request") < 290
    assert {the_librarys.should_sample(None, span.context.trace_id, "").decision for span in spans} == {
        Decision.RECORD_AND_SAMPLE
    }


def test_what_follows_from_the_log_begins_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    tracer, seen = tracer_at(1)
    monkeypatch.setattr(tracing, "_tracer", tracer)
    assert tracing.follow("publish", Kind.PRODUCER, None) is NO_SPAN
    tracing.follow("publish", Kind.PRODUCER, KEPT).end()
    tracer.close()
    assert names(seen) == ["publish"]


def test_work_for_many_is_kept_when_one_of_them_is_whatever_the_rate() -> None:
    tracer, seen = tracer_at(0.5)
    served: list[Span] = []
    while not any(one.recording for one in served) or all(one.recording for one in served):
        served.append(tracer.entry("request", Kind.SERVER, None))
    with tracer.shared("commit", served, {}):
        pass
    for one in served:
        one.end()
    tracer.close()
    [commit] = [span for span in seen.get_finished_spans() if span.name == "commit"]
    kept = [span for span in seen.get_finished_spans() if span.name == "request"]
    assert commit.parent is None
    assert {link.context.span_id for link in commit.links} == {span.context.span_id for span in kept}
    assert all([link.context for link in span.links] == [commit.context] for span in kept)


def test_work_for_none_that_is_kept_belongs_to_no_trace_even_within_one() -> None:
    tracer, seen = tracer_at(1)
    with (
        tracer.entry("request", Kind.SERVER, None),
        tracer.shared("commit", [NO_SPAN], {}) as shared,
        tracer.followed("project", [None, LEFT_OUT], {}) as other,
    ):
        assert tracer.span("part", Kind.INTERNAL, {}) is shared is other is NO_SPAN
    tracer.close()
    assert names(seen) == ["request"]


def test_what_follows_from_many_has_a_span_in_each_trace_once_it_is_done() -> None:
    tracer, seen = tracer_at(1)
    another = f"00-{'a' * 32}-{'b' * 16}-01"
    with tracer.followed("project", [KEPT, None, KEPT, LEFT_OUT, another], {}):
        pass
    with pytest.raises(ValueError, match="no"), tracer.followed("project", [KEPT], {}):
        raise ValueError("no")
    tracer.close()
    batch, first, second, failed = seen.get_finished_spans()
    causes = [context_of(KEPT), context_of(another)]
    assert [link.context for link in batch.links] == causes
    assert [part.parent for part in (first, second)] == causes
    assert all([link.context for link in part.links] == [batch.context] for part in (first, second))
    assert (batch.parent, failed.parent, failed.status.description) == (None, None, "ValueError")


def test_an_error_is_told_by_its_class_alone() -> None:
    tracer, seen = tracer_at(1)
    with pytest.raises(ValueError, match="sekret"), tracer.entry("request", Kind.SERVER, None):
        raise ValueError("sekret")
    tracer.close()
    [span] = seen.get_finished_spans()
    assert "sekret" not in span.to_json()
    assert (span.status.description, dict(span.attributes or {})) == ("ValueError", {"error.type": "ValueError"})


# -- where they go ----------------------------------------------------------------------------------------------------


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def send_one(**settings: object) -> None:
    tracer = SdkTracer.of(Settings(**settings), "api")  # type: ignore[arg-type]
    span = tracer.entry("request", Kind.SERVER, KEPT)
    span.set({"http.route": "/applications"})
    span.end()
    tracer.close()


def test_otlp_tells_the_service_and_its_role(receiver: Receiver) -> None:
    send_one(tracing_exporter="otlp", otlp_endpoint=f"http://user:p%40ss@127.0.0.1:{receiver.port}/ignored")
    [span] = receiver.spans
    assert (span.name, span.role, span.kind) == ("request", "api", "server")
    assert span.attributes == {"http.route": "/applications"}
    assert receiver.headers["authorization"] == "Basic dXNlcjpwQHNz"


def test_jaeger_gets_otlp_too(receiver: Receiver) -> None:
    send_one(tracing_exporter="jaeger", jaeger_host="127.0.0.1", jaeger_port=receiver.port)
    assert len(receiver.spans) == 1


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"tracing_exporter": "jaeger"}, "localhost:4317"),
        ({"tracing_exporter": "jaeger", "jaeger_port": 6832, "jaeger_host": "tracing"}, "tracing:4317"),
        ({"tracing_exporter": "jaeger", "jaeger_port": 14317, "jaeger_host": "::1"}, "[::1]:14317"),
        ({"tracing_exporter": "otlp"}, "localhost:4317"),
        ({"tracing_exporter": "otlp", "otlp_endpoint": "http://collector"}, "collector:4317"),
        ({"tracing_exporter": "otlp", "otlp_endpoint": "https://collector:443/v1"}, "collector:443"),
    ],
)
def test_where_traces_go(settings: dict[str, object], address: str) -> None:
    made = exporter(Settings(**settings))  # type: ignore[arg-type]
    assert made._endpoint == address  # type: ignore[attr-defined]
    made.shutdown()


def test_the_console_gets_a_line_of_json_a_span(capfd: pytest.CaptureFixture[str]) -> None:
    send_one(tracing_exporter="console")
    [line] = capfd.readouterr().out.splitlines()
    told = json.loads(line)
    assert (told["name"], told["context"]["trace_id"]) == ("request", f"0x{KEPT.split('-')[1]}")


# -- nobody waits for it ----------------------------------------------------------------------------------------------


class Stuck(InMemorySpanExporter):
    """Takes spans and never comes back, until it is told to end."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = threading.Event()

    def export(self, spans: object) -> SpanExportResult:
        self.ended.wait()
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.ended.set()


def test_a_receiver_that_is_stuck_costs_spans_and_no_memory_or_time() -> None:
    stuck = Stuck()
    tracer = SdkTracer(stuck, 1, Resource.get_empty())
    began = time.process_time()
    for _ in range(2 * SPANS_WAITING):
        tracer.entry("request", Kind.SERVER, None).end()
    assert time.process_time() - began < 5
    [processor] = tracer._provider._active_span_processor._span_processors
    assert len(processor._batch_processor._queue) <= SPANS_WAITING  # type: ignore[attr-defined]
    began = time.perf_counter()
    tracer.close()
    assert time.perf_counter() - began < CLOSE_SECONDS + 3


@pytest.mark.parametrize("answers", [False, True])
def test_a_process_ends_in_time_whatever_became_of_the_receiver(answers: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as half_dead:
        port = half_dead.getsockname()[1]
        if not answers:
            half_dead.close()
        began = time.perf_counter()
        send_one(tracing_exporter="otlp", otlp_endpoint=f"http://127.0.0.1:{port}")
        assert time.perf_counter() - began < CLOSE_SECONDS + 3


def test_what_waits_is_sent_at_the_end(receiver: Receiver) -> None:
    receiver.pause = 0.3
    send_one(tracing_exporter="otlp", otlp_endpoint=receiver.url)
    assert len(receiver.spans) == 1
