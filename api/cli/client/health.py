"""`app-manager health`: whether the service is well (contract cli.md 4)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from api.cli.client.commands import Json, begin
from api.cli.client.output import NOTHING, panel, plain, table, when
from api.cli.ending import CommandFailed

if TYPE_CHECKING:
    from rich.console import RenderableType

_UNWELL = 503


class Check(NamedTuple):
    path: str
    title: str
    well: str  # the status that it then tells


HEALTH = Check("/health", "Health Status", "healthy")
LIVE = Check("/health/live", "Liveness Check", "alive")
READY = Check("/health/ready", "Readiness Check", "ready")


def health(
    context: typer.Context,
    live: Annotated[bool, typer.Option("--live", "-l", help="Only whether it serves.")] = False,
    ready: Annotated[bool, typer.Option("--ready", "-r", help="Whether it can take requests.")] = False,
    json: Json = False,
) -> None:
    """Show whether the service is well; exit code 1 if not."""
    from api.cli.client.answers import ApiError

    if live and ready:
        raise typer.BadParameter("--live and --ready are two checks: choose one")
    check = LIVE if live else READY if ready else HEALTH
    api, output = begin(context, as_json=json)
    with api:
        answer = api.get(check.path, also=_UNWELL)
    body = answer.json
    if not (isinstance(body, dict) and isinstance(body.get("status"), str)):
        raise ApiError(f"{check.path} answered {answer.status} without a status", status=answer.status)
    output.show(body, lambda body: _parts(check, body))
    if body["status"] != check.well:
        raise CommandFailed(_why_not(check, body))


def _parts(check: Check, body: dict[str, Any]) -> "Iterator[RenderableType]":
    fields = [("Status", plain(body["status"])), ("Timestamp", when(body.get("timestamp")))]
    if body.get("environment"):
        fields.append(("Environment", plain(body["environment"])))
    yield panel(check.title, fields)
    if rows := _dependencies(body):
        yield table("Dependencies", ["Service", "Status", "Latency"], rows)


def _dependencies(body: dict[str, Any]) -> list[list[str]]:
    """The readiness check tells names and statuses only."""
    if "checks" in body:
        return [[plain(name), plain(status), NOTHING] for name, status in body["checks"].items()]
    return [[plain(one["name"]), plain(one["status"]), _latency(one)] for one in body.get("dependencies") or []]


def _latency(dependency: dict[str, Any]) -> str:
    milliseconds = dependency.get("latency_ms")
    return NOTHING if milliseconds is None else f"{milliseconds:.1f} ms"


def _why_not(check: Check, body: dict[str, Any]) -> str:
    """Which dependency is to blame, as far as it is told."""
    try:
        failing = [name for name, status, _ in _dependencies(body) if status not in {"healthy", "ready"}]
    except (KeyError, TypeError, AttributeError, ValueError):
        failing = []
    return f"the service is not {check.well}" + (f": {', '.join(failing)}" if failing else "")
