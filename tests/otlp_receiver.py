"""A receiver of traces as a collector is one: OTLP over gRPC, in this process, that can also be slow or refuse."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status


@dataclass(frozen=True, slots=True)
class Seen:
    """A span that has arrived; ids in hex, times in seconds. `links` are ids of traces and spans."""

    name: str
    role: str
    trace_id: str
    id: str
    parent_id: str | None
    kind: str
    links: Sequence[tuple[str, str]]
    attributes: dict[str, Any]
    failed: bool
    start: float
    end: float

    @property
    def ids(self) -> tuple[str, str]:
        return self.trace_id, self.id


@dataclass(slots=True)
class Receiver(TraceServiceServicer):
    """What came, in `spans`, or only `count`ed, which costs less.

    `pause` seconds pass before each answer; `refuses` answers that it is not available.
    """

    port: int = 0
    pause: float = 0.0
    refuses: bool = False
    counts_only: bool = False
    calls: int = 0
    count: int = 0
    spans: list[Seen] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)  # of the newest call
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def trace(self, trace_id: str) -> list[Seen]:
        return [span for span in self.spans if span.trace_id == trace_id]

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.spans if span.name == name]

    def Export(  # noqa: N802  the protocol's word
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        self.calls += 1
        self.headers = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
        self._ended.wait(self.pause)
        if self.refuses:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        for resource in request.resource_spans:
            role = str(_attributes(resource.resource.attributes).get("app_manager.role"))
            for scope in resource.scope_spans:
                self.count += len(scope.spans)
                if not self.counts_only:
                    self.spans.extend(_seen(span, role) for span in scope.spans)
        return ExportTraceServiceResponse()


def _seen(span: OtlpSpan, role: str) -> Seen:
    return Seen(
        name=span.name,
        role=role,
        trace_id=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() or None,
        kind=OtlpSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        attributes=_attributes(span.attributes),
        failed=span.status.code == Status.StatusCode.STATUS_CODE_ERROR,
        start=span.start_time_unix_nano / 1e9,
        end=span.end_time_unix_nano / 1e9,
    )


def _attributes(told: Sequence[KeyValue]) -> dict[str, Any]:
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in told}


@contextmanager
def receiving(receiver: Receiver | None = None, port: int = 0) -> Iterator[Receiver]:
    """On a free port, or the given one."""
    receiver = receiver or Receiver()
    server = grpc.server(ThreadPoolExecutor(4, "otlp-receiver"))
    add_TraceServiceServicer_to_server(receiver, server)  # type: ignore[no-untyped-call]
    receiver.port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield receiver
    finally:
        receiver._ended.set()
        server.stop(grace=0).wait()
