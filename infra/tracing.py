"""Traces: what one request sets off, over all processes, as spans (contract config.md, Tracing).

Off, which is the default, nothing of OpenTelemetry is imported, and each use costs a call that does nothing. On,
`infra.tracing_sdk` makes the spans and sends them in the background.

Kinds of work, and the ways to tell of them:

- `entry`: a request or a message comes in, and goes on with the trace that it names, or begins one;
- `follow`: what follows from the log goes on with the trace that it names, if it does;
- `span`: a part of it. Where no trace is under way there is none, so that what roles do by themselves makes no traces;
- `shared`, `followed`: work that serves many at once, a group commit or a batch of the projector. It is a span in a
  trace of its own with a link to each that it serves, and each of these has a link back to it.

Between processes a trace travels as W3C `traceparent`: in the cause of each event and in the header of each message.
A span never holds a token, the content of a CV, a query string, or what an error says: only names, ids, numbers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from importlib.util import find_spec
from types import TracebackType
from typing import Protocol, Self

from pymongo.monitoring import CommandListener

from infra.settings import Settings, SettingsError

NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.grpc", "opentelemetry.instrumentation.pymongo")

Attributes = Mapping[str, str | int | float | bool]

NONE: Attributes = {}


class Kind(StrEnum):
    """A span's part in a conversation, in OpenTelemetry's words."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Span(Protocol):
    """Entered, it is the current one of its task; left, it ends, as failed when by an error."""

    @property
    def recording(self) -> bool:
        """Whether anybody will see it: else it costs nothing to fill it."""

    @property
    def trace_id(self) -> str | None: ...

    @property
    def traceparent(self) -> str | None: ...

    def set(self, attributes: Attributes) -> None: ...

    def failed(self, why: str) -> None:
        """`why`: the name of an error's class or a status, nothing that a user wrote."""

    def end(self) -> None:
        """For one that is never entered, as it ends in a callback."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Tracer(Protocol):
    """What makes spans."""

    def current(self) -> Span: ...

    def entry(self, name: str, kind: Kind, traceparent: str | None) -> Span: ...

    def span(self, name: str, kind: Kind, attributes: Attributes) -> Span: ...

    def shared(self, name: str, served: Sequence[Span], attributes: Attributes) -> AbstractContextManager[Span]: ...

    def followed(
        self, name: str, causes: Iterable[str | None], attributes: Attributes
    ) -> AbstractContextManager[Span]: ...

    def mongo_listeners(self) -> Sequence[CommandListener]: ...


class _NoSpan:
    """Does nothing, for all who ask while there is nothing to trace."""

    recording = False
    trace_id = traceparent = None

    def set(self, attributes: Attributes) -> None: ...
    def failed(self, why: str) -> None: ...
    def end(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


NO_SPAN: Span = _NoSpan()


class _Off:
    """No tracing."""

    def current(self) -> Span:
        return NO_SPAN

    def entry(self, name: str, kind: Kind, traceparent: str | None) -> Span:
        return NO_SPAN

    def span(self, name: str, kind: Kind, attributes: Attributes) -> Span:
        return NO_SPAN

    def shared(self, name: str, served: Sequence[Span], attributes: Attributes) -> Span:
        return NO_SPAN

    def followed(self, name: str, causes: Iterable[str | None], attributes: Attributes) -> Span:
        return NO_SPAN

    def mongo_listeners(self) -> Sequence[CommandListener]:
        return ()


_OFF = _Off()
_tracer: Tracer = _OFF


# -- on and off -------------------------------------------------------------------------------------------------------


def check_installed(settings: Settings) -> None:
    """Raises SettingsError when tracing is on and its packages are not there."""
    if settings.tracing_enabled and not all(map(_is_there, NEEDED)):
        raise SettingsError(
            "TRACING_ENABLED needs packages that are not installed: pip install 'application-manager-service[tracing]'"
        )


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it is in
        return False


@contextmanager
def traced(settings: Settings, role: str) -> Iterator[None]:
    """Traces what this process does, if the settings say so; at the end sends what waits, for a moment.

    Blocks at both ends: to be used around the event loop. Raises SettingsError.
    """
    global _tracer  # noqa: PLW0603  one a process, as logs and metrics are
    check_installed(settings)
    if not settings.tracing_enabled:
        yield
        return
    from infra.tracing_sdk import SdkTracer  # noqa: PLC0415  costs memory and time, so only when it is wanted

    _tracer = tracer = SdkTracer.of(settings, role)
    try:
        yield
    finally:
        _tracer = _OFF
        tracer.close()


def is_on() -> bool:
    return _tracer is not _OFF


# -- spans ------------------------------------------------------------------------------------------------------------


def current() -> Span:
    """The one that this task works in, as others may want to link to it."""
    return _tracer.current()


def traceparent() -> str | None:
    """What tells the next process of the trace under way."""
    return _tracer.current().traceparent


def entry(name: str, kind: Kind, traceparent: str | None) -> Span:
    """Work that begins here, as a part of the trace that its sender names, else of a new one."""
    return _tracer.entry(name, kind, traceparent)


def follow(name: str, kind: Kind, traceparent: str | None) -> Span:
    """Work that is led to by what is in the log: where that names no trace, there is none."""
    return NO_SPAN if traceparent is None else _tracer.entry(name, kind, traceparent)


def span(name: str, attributes: Attributes = NONE, kind: Kind = Kind.INTERNAL) -> Span:
    """A part of what is under way in this task."""
    return _tracer.span(name, kind, attributes)


def shared(name: str, served: Sequence[Span], attributes: Attributes = NONE) -> AbstractContextManager[Span]:
    """Work for spans that wait for it."""
    return _tracer.shared(name, served, attributes)


def followed(name: str, causes: Iterable[str | None], attributes: Attributes = NONE) -> AbstractContextManager[Span]:
    """Work on what others caused, told by their `traceparent`: once done, each of their traces has a span of it too."""
    return _tracer.followed(name, causes, attributes)


def mongo_listeners() -> Sequence[CommandListener]:
    """What makes a span of each command to MongoDB that is a part of a trace."""
    return _tracer.mongo_listeners()
