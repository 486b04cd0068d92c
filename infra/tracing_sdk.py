"""Tracing by OpenTelemetry's SDK: made only when TRACING_ENABLED says so, as `infra.tracing` is what all others use.

Spans that have ended wait in a queue of SPANS_WAITING at most, from which a thread sends them; a receiver that is away
or slow costs spans, never a request. The library tells of that in the log, and goes on trying.

TRACING_SAMPLE_RATE is decided by the trace's id, so every process that has the same rate decides alike. It holds for
traces that come from outside too: of those that their sender keeps, this share is kept here. What is not kept still
has its ids, in events, messages and logs. Work that serves many is kept when one that it serves is.

HTTP requests have spans of our own rather than those of OpenTelemetry's aiohttp packages, which put the whole address
into them: a stream's query holds a token, and a portal's may hold a secret.
"""

import base64
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Token
from importlib.metadata import version
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace import Span as SdkSpan
from opentelemetry.trace import Tracer as OpenTelemetryTracer
from opentelemetry.util.types import Attributes as SdkAttributes
from pymongo.monitoring import CommandListener

from infra.messages import acceptable_traceparent
from infra.settings import Settings
from infra.tracing import NO_SPAN, Attributes, Kind, Span
from infra.tracing_console import console_exporter
from infra.tracing_mongo import CommandSpans

SPANS_WAITING = 8_192
SPANS_AT_ONCE = 512
SEND_EVERY_MILLISECONDS = 1_000
SEND_SECONDS = 5.0  # for one sending with its retries; then its spans are given up
CLOSE_SECONDS = 2.0  # at the end of a process, for what waits
LINKS_MAX = 1_000  # as many events as a batch has
OTLP_PORT, JAEGER_AGENT_PORTS = 4317, {6831, 6832}  # the latter are of a protocol that is retired

KINDS = {kind: SpanKind[kind.name] for kind in Kind}
NOWHERE = Context()  # no span in it


# -- spans ------------------------------------------------------------------------------------------------------------


class OpenSpan:
    """A `Span` over the library's."""

    __slots__ = ("_token", "inner")

    def __init__(self, inner: SdkSpan) -> None:
        self.inner = inner
        self._token: Token[Context] | None = None

    @property
    def context(self) -> SpanContext:
        return self.inner.get_span_context()

    @property
    def recording(self) -> bool:
        return self.inner.is_recording()

    @property
    def trace_id(self) -> str | None:
        return format_trace_id(self.context.trace_id)

    @property
    def traceparent(self) -> str | None:
        context = self.context
        ids = f"{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}"
        return f"00-{ids}-{context.trace_flags & TraceFlags.SAMPLED:02x}"

    def set(self, attributes: Attributes) -> None:
        self.inner.set_attributes(attributes)

    def failed(self, why: str) -> None:
        self.inner.set_attribute("error.type", why)
        self.inner.set_status(StatusCode.ERROR, why)

    def end(self) -> None:
        self.inner.end()

    def __enter__(self) -> Self:
        self._token = attach(set_span_in_context(self.inner, NOWHERE))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            detach(self._token)
        if error is not None:
            self.failed(type(error).__name__)
        self.inner.end()


def context_of(traceparent: str | None) -> SpanContext | None:
    """None for what names no trace."""
    if acceptable_traceparent(traceparent) is None or traceparent is None:
        return None
    _, trace_id, span_id, flags = traceparent.split("-")[:4]
    context = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return context if context.is_valid else None


# -- which are kept ---------------------------------------------------------------------------------------------------


class RootSampler(Sampler):
    """For spans without a parent: by the rate, or kept when they serve others, which are kept."""

    def __init__(self, by_rate: Sampler) -> None:
        self._by_rate = by_rate

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: SdkAttributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if links:
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
        return self._by_rate.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"Root({self._by_rate.get_description()})"


def sampler(rate: float) -> Sampler:
    by_rate = TraceIdRatioBased(rate)
    return ParentBased(RootSampler(by_rate), remote_parent_sampled=by_rate)


# -- where they go ----------------------------------------------------------------------------------------------------


def exporter(settings: Settings) -> SpanExporter:
    match settings.tracing_exporter:
        case "console":
            return console_exporter()
        case "jaeger":
            port = OTLP_PORT if settings.jaeger_port in JAEGER_AGENT_PORTS else settings.jaeger_port
            host = f"[{settings.jaeger_host}]" if ":" in settings.jaeger_host else settings.jaeger_host
            return otlp_exporter(f"http://{host}:{port}")
        case "otlp":
            return otlp_exporter(settings.otlp_endpoint)


def otlp_exporter(url: str) -> OTLPSpanExporter:
    """Over TLS for https. A user and password in the address are told as such; a path has no meaning in gRPC."""
    address = urlsplit(url)
    headers: dict[str, str] = {}
    if address.username is not None:
        user = f"{unquote(address.username)}:{unquote(address.password or '')}"
        headers["authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    place = address.netloc.rpartition("@")[2]
    if address.port is None:
        place = f"{place.rstrip(':')}:{OTLP_PORT}"
    return OTLPSpanExporter(
        endpoint=f"{address.scheme}://{place}",
        insecure=address.scheme == "http",
        headers=headers or None,
        timeout=SEND_SECONDS,
    )


# -- the tracer -------------------------------------------------------------------------------------------------------


class SdkTracer:
    """`infra.tracing.Tracer` over the library's. One a process."""

    def __init__(self, exporter: SpanExporter, sampler: Sampler, resource: Resource) -> None:
        self._exporter = exporter
        self._provider = TracerProvider(
            sampler=sampler,
            resource=resource,
            shutdown_on_exit=False,  # that waits half a minute for a receiver that is away
            span_limits=SpanLimits(max_links=LINKS_MAX),
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=SPANS_WAITING,
                max_export_batch_size=SPANS_AT_ONCE,
                schedule_delay_millis=SEND_EVERY_MILLISECONDS,
            )
        )
        self._tracer: OpenTelemetryTracer = self._provider.get_tracer("application-manager-service")

    @classmethod
    def of(cls, settings: Settings, role: str) -> "SdkTracer":
        resource = Resource.create(
            {
                "service.name": settings.service_name,
                "service.version": version("application-manager-service"),
                "deployment.environment.name": settings.environment,
                "app_manager.role": role,
            }
        )
        return cls(exporter(settings), sampler(settings.tracing_sample_rate), resource)

    def close(self) -> None:
        """Sends what waits, for CLOSE_SECONDS at most. Blocks."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces-closing", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
        if closing.is_alive():
            self._exporter.shutdown()

    def current(self) -> Span:
        inner = get_current_span()
        return OpenSpan(inner) if inner.get_span_context().is_valid else NO_SPAN

    def entry(self, name: str, kind: Kind, traceparent: str | None, attributes: Attributes) -> Span:
        return self._open(name, context_of(traceparent), kind, attributes)

    def span(self, name: str, kind: Kind, attributes: Attributes) -> Span:
        if not get_current_span().is_recording():
            return NO_SPAN
        return OpenSpan(self._tracer.start_span(name, kind=KINDS[kind], attributes=attributes))

    @contextmanager
    def shared(self, name: str, served: Sequence[Span], attributes: Attributes) -> Iterator[Span]:
        kept = [span for span in served if isinstance(span, OpenSpan) and span.recording]
        if not kept:
            with _apart():
                yield NO_SPAN
            return
        links = [Link(span.context) for span in kept]
        with self._open(name, None, Kind.INTERNAL, attributes, links) as span:
            for one in kept:
                one.inner.add_link(span.context)
            yield span

    @contextmanager
    def followed(self, name: str, causes: Iterable[str | None], attributes: Attributes) -> Iterator[Span]:
        found = [context_of(cause) for cause in dict.fromkeys(causes)]
        kept = [context for context in found if context is not None and context.trace_flags.sampled]
        if not kept:
            with _apart():
                yield NO_SPAN
            return
        began = time.time_ns()
        with self._open(name, None, Kind.INTERNAL, attributes, [Link(context) for context in kept]) as span:
            yield span
        ended = time.time_ns()
        for context in kept:
            parent = set_span_in_context(NonRecordingSpan(context), NOWHERE)
            part = self._tracer.start_span(
                name, parent, attributes=attributes, links=[Link(span.context)], start_time=began
            )
            part.end(ended)

    def mongo_listeners(self) -> Sequence[CommandListener]:
        return [CommandSpans(self._tracer)]

    def _open(
        self,
        name: str,
        parent: SpanContext | None,
        kind: Kind,
        attributes: Attributes,
        links: Sequence[Link] = (),
    ) -> OpenSpan:
        around = NOWHERE if parent is None else set_span_in_context(NonRecordingSpan(parent), NOWHERE)
        return OpenSpan(self._tracer.start_span(name, around, KINDS[kind], attributes, links))


@contextmanager
def _apart() -> Iterator[None]:
    """What runs inside belongs to no trace, in whosever context it runs."""
    token = attach(NOWHERE)
    try:
        yield
    finally:
        detach(token)
