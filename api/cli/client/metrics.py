"""`app-manager metrics`: what the API tells Prometheus, for people (contract cli.md 4, metrics.md 1)."""

import re
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import typer

from api.cli.client.commands import Json, begin
from api.cli.client.output import Parts, plain, table, write
from api.cli.ending import CommandFailed

KEY_METRICS = {
    "http_requests_total",
    "http_request_duration_seconds_sum",
    "http_request_duration_seconds_count",
    "applications_submitted_total",
    "queue_messages_published_total",
    "dlq_messages_total",
    "rate_limit_exceeded_total",
}
_SAMPLE = re.compile(r"(?P<name>[A-Za-z_:][A-Za-z0-9_:]*)(?P<labels>\{.*\})?\s+(?P<value>\S+)(?:\s+-?[0-9]+)?\s*")


class Sample(NamedTuple):
    name: str
    labels: str  # as they stand there, with their braces
    value: str
    line: str

    @property
    def whole_name(self) -> str:
        return self.name + self.labels


def metrics(
    context: typer.Context,
    raw: Annotated[bool, typer.Option("--raw", "-r", help="The text as it is.")] = False,
    text: Annotated[
        str | None, typer.Option("--filter", "-f", metavar="TEXT", help="Only lines that hold it, in any letter case.")
    ] = None,
    json: Json = False,
) -> None:
    """Show the key metrics of the service."""
    if raw and json:
        raise typer.BadParameter("--raw and --json are two forms: choose one")
    api, output = begin(context, as_json=json)
    with api:
        answer = api.get("/metrics")
    if answer.content_type != "text/plain":
        raise CommandFailed("the service answered something that is no metrics: is it the right address?")
    if raw:
        write(b"".join(line for line in answer.content.splitlines(keepends=True) if _holds(_decoded(line), text)))
        return
    samples = list(_samples(_decoded(answer.content)))
    if output.is_json:
        output.document({one.whole_name: one.value for one in samples if _holds(one.line, text)})
    else:
        output.show(samples, lambda samples: _parts(samples, text))


def _decoded(content: bytes) -> str:
    return content.decode(errors="replace")


def _samples(text: str) -> Iterator[Sample]:
    for line in text.splitlines():
        if found := _SAMPLE.fullmatch(line):
            yield Sample(found["name"], found["labels"] or "", found["value"], line)


def _holds(line: str, text: str | None) -> bool:
    return text is None or text.casefold() in line.casefold()


def _parts(samples: list[Sample], text: str | None) -> Parts:
    shown = [one for one in samples if (one.name in KEY_METRICS if text is None else _holds(one.line, text))]
    yield table("Key Metrics", ["Metric", "Value"], [[plain(one.whole_name), plain(one.value)] for one in shown])
    yield f"{len(shown)} of {len(samples)} samples shown"
