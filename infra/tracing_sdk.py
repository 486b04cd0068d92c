"""Tracing by OpenTelemetry's SDK: made only when TRACING_ENABLED says so, as `infra.tracing` is what all others use.

Spans that have ended wait in a queue of SPANS_WAITING at most, from which a thread sends them; a receiver that is away
or slow costs spans, never a request. The library tells of that in the log, and goes on trying.

TRACING_SAMPLE_RATE holds for traces that begin here, and for those that come from outside: of what their sender keeps,
this share is kept here too, decided by the trace's id, so that every process of the same rate decides alike. A trace
that would begin here and is not kept has no ids either; one from outside goes on with its own, in events, messages and
logs. Work that serves many is kept when one that it serves is. All this is decided before the library is asked for a
span: most traces are not kept, and it takes as long over those.

HTTP requests have spans of our own rather than those of OpenTelemetry's aiohttp packages, which put the whole address
into them: a stream's query holds a token, and a portal's may hold a secret.
"""

import base64
import random
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Token
from importlib.metadata import version
from types import TracebackType
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from opentelemetry.context import Context, attach, create_key, detach, get_value
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace import Span as SdkSpan
from opentelemetry.trace import Tracer as OpenTelemetryTracer
from pymongo.monitoring import CommandListener

from infra.messages import acceptable_traceparent
from infra.settings import Settings
from infra.tracing import NO_SPAN, NONE, Attributes, Kind, Span
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
CURRENT = create_key("app-manager-span")


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
        return f"00-{_written(context.trace_id, context.span_id)}-01"

    def set(self, attributes: Attributes) -> None:
        self.inner.set_attributes(attributes)

    def failed(self, why: str) -> None:
        self.inner.set_attribute("error.type", why)
        self.inner.set_status(StatusCode.ERROR, why)

    def end(self) -> None:
        self.inner.end()

    def __enter__(self) -> Self:
        self._token = attach(set_span_in_context(self.inner, Context({CURRENT: self})))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            detach(self._token)
        if error is not None:
            self.failed(type(error).__name__)
        self.inner.end()


class UnkeptSpan:
    """A `Span` of a trace from outside that is not kept: nothing but the ids, which go on as they came."""

    __slots__ = ("_token", "traceparent")

    recording: Literal[False] = False

    def __init__(self, ids: str) -> None:
        """`ids` as in a `traceparent`, of trace and span."""
        self.traceparent: str | None = f"00-{ids}-00"
        self._token: Token[Context] | None = None

    @property
    def trace_id(self) -> str | None:
        return self.traceparent and self.traceparent.split("-")[1]

    def set(self, attributes: Attributes) -> None: ...
    def failed(self, why: str) -> None: ...
    def end(self) -> None: ...

    def __enter__(self) -> Self:
        self._token = attach(Context({CURRENT: self}))
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            detach(self._token)


def context_of(traceparent: str | None) -> SpanContext | None:
    """None for what names no trace."""
    if acceptable_traceparent(traceparent) is None or traceparent is None:
        return None
    _, trace_id, span_id, flags = traceparent.split("-")[:4]
    context = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return context if context.is_valid else None


# -- which are kept ---------------------------------------------------------------------------------------------------


class Ids(RandomIdGenerator):
    """Makes ids, and tells by a trace's id whether it is kept, as OpenTelemetry's own sampler by ratio does."""

    def __init__(self, rate: float) -> None:
        self._bound = TraceIdRatioBased.get_bound_for_rate(rate)

    def keeps(self, trace_id: int) -> bool:
        return trace_id & TraceIdRatioBased.TRACE_ID_LIMIT < self._bound

    def generate_trace_id(self) -> int:
        """For the library, which makes no spans but of what is kept."""
        return random.getrandbits(64) << 64 | random.randrange(max(self._bound, 1))  # noqa: S311  no secret

    def keeps_a_new_one(self) -> bool:
        return self.keeps(super().generate_trace_id())


def _written(trace_id: int, span_id: int) -> str:
    return f"{format_trace_id(trace_id)}-{format_span_id(span_id)}"


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

    def __init__(self, exporter: SpanExporter, rate: float, resource: Resource) -> None:
        self._exporter, self._ids = exporter, Ids(rate)
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            id_generator=self._ids,
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
        return cls(exporter(settings), settings.tracing_sample_rate, resource)

    def close(self) -> None:
        """Sends what waits, for CLOSE_SECONDS at most. Blocks."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces-closing", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
        if closing.is_alive():
            self._exporter.shutdown()

    def current(self) -> Span:
        found = get_value(CURRENT)
        return found if isinstance(found, OpenSpan | UnkeptSpan) else NO_SPAN

    def entry(self, name: str, kind: Kind, traceparent: str | None) -> Span:
        parent = context_of(traceparent)
        if parent is None:
            return self._open(name, None, kind) if self._ids.keeps_a_new_one() else NO_SPAN
        if parent.trace_flags.sampled and self._ids.keeps(parent.trace_id):
            return self._open(name, parent, kind)
        return UnkeptSpan(_written(parent.trace_id, parent.span_id))

    def span(self, name: str, kind: Kind, attributes: Attributes) -> Span:
        if not self.current().recording:
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
        attributes: Attributes = NONE,
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
