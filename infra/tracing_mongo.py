"""Spans of MongoDB's commands, by OpenTelemetry's package for its client: names and collections, never what they hold.

Only of commands that are a part of a trace: what roles ask for by themselves, change streams or leases, makes none.
"""

from opentelemetry.instrumentation.pymongo import CommandTracer
from opentelemetry.trace import Span, StatusCode, get_current_span
from pymongo.monitoring import CommandFailedEvent, CommandStartedEvent


class CommandSpans(CommandTracer):
    """A listener of the client, called in the context of who gave the command."""

    def started(self, event: CommandStartedEvent) -> None:
        if get_current_span().is_recording():
            super().started(event)

    def failed(self, event: CommandFailedEvent) -> None:
        """The library would tell the server's words, which may hold what a user wrote."""
        span: Span | None = self._pop_span(event)
        if span is not None:
            span.set_attribute("error.type", str(event.failure.get("codeName", "OperationFailure")))
            span.set_status(StatusCode.ERROR)
            span.end()
