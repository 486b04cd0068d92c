"""The audit commands and their options. What one does is in the module that it calls."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.client.commands import Json, group, output_of, settings_of

if TYPE_CHECKING:
    from api.cli.audit.log import Moment

app = group("The event log as evidence: what happened, and whether anybody has changed it since.")

STDOUT = Path("-")

Id = Annotated[str, typer.Argument(metavar="APPLICATION_ID", help="As `apps list` prints it.")]


@app.command()
def trail(context: typer.Context, application_id: Id, json: Json = False) -> None:
    """Show every event of an application. With --json, one object a line, with all that the event holds."""
    from api.cli.audit.log import opened_log, stream_of
    from api.cli.audit.trail import show
    from api.cli.settings_here import settings_here

    output = output_of(settings_of(context, as_json=json))
    with opened_log(settings_here()) as log:
        found = stream_of(log, application_id)
    show(application_id, found, output)


@app.command()
def replay(
    context: typer.Context,
    application_id: Id,
    at: Annotated[
        str, typer.Option("--at", metavar="TIME|POSITION", help="Digits are a position, anything else a time (UTC).")
    ],
    json: Json = False,
) -> None:
    """Show where an application stood at a time, or at a position of the log."""
    from api.cli.audit.log import opened_log, position_of, stream_of
    from api.cli.audit.replay import parts, replayed
    from api.cli.ending import CommandFailed
    from api.cli.settings_here import settings_here
    from infra.mapper import EventMapper

    wanted = _moment(at, "--at")
    output = output_of(settings_of(context, as_json=json))
    with opened_log(settings_here()) as log:
        position, to_recorded = position_of(log, wanted), EventMapper().to_recorded_event
        recorded = [to_recorded(stored, there) for stored, there in stream_of(log, application_id)]
    body = replayed(recorded, position)
    if body is None:
        raise CommandFailed(f"Application not found: {application_id} (at position {position})")
    output.show(body, parts)


@app.command()
def export(
    context: typer.Context,
    from_: Annotated[str | None, typer.Option("--from", metavar="TIME|POSITION", help="From then or there on.")] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="TIME|POSITION", help="Until then or there.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="Only events that concern this user.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only events of this type.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.jsonl", help="Where to; - is standard output.")
    ] = STDOUT,
    json: Json = False,
) -> None:
    """Export the log, or a part of it, as JSON Lines. Interrupted, the same command goes on."""
    from api.cli.audit import export as exporting
    from api.cli.audit.jsonl import Header
    from api.cli.audit.log import opened_log, positions_between
    from api.cli.audit.verify import folder_lines
    from api.cli.settings_here import settings_here

    _check_type(type_)
    begin = None if from_ is None else _moment(from_, "--from")
    end = None if to is None else _moment(to, "--to")
    told, settings = output_of(settings_of(context, as_json=json)), settings_here()
    lines = list(folder_lines(settings))
    with opened_log(settings) as log:
        header = Header(*positions_between(log, begin, end), user, type_)
        if output == STDOUT:
            exporting.export_to_stdout(log, header, lines)
            return
        part, resumed = exporting.export_to_file(log, header, lines, output)
    body = {"file": str(output), "events": part.events, "complete": header.complete, "resumed": resumed}
    told.show(body, lambda body: [exporting.summary(body)])


def _check_type(name: str | None) -> None:
    from infra.event_schemas import released

    if name is not None and name not in released():
        raise typer.BadParameter(f"there is no event {name}; there are {', '.join(released())}", param_hint="--type")


@app.command()
def verify(
    context: typer.Context,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="An export instead of the log; no server is needed.")
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option("--public-key", metavar="FILE", help="Instead of the half of AUDIT_SIGNING_KEY.")
    ] = None,
    json: Json = False,
) -> None:
    """Check that the log is whole, readable and legal, and as its signed checkpoints say; exit code 1 if not."""
    from api.cli.audit import verify as verifying
    from api.cli.audit.log import opened_log
    from api.cli.audit.offline import verify_export
    from api.cli.ending import CommandFailed
    from api.cli.settings_here import settings_here

    output, settings = output_of(settings_of(context, as_json=json)), settings_here()
    keys = verifying.keys_of(settings, public_key)
    if export is not None:
        body = verify_export(export, keys, verifying.named_copy(settings))
    else:
        lines = verifying.folder_lines(settings)
        with opened_log(settings) as log:
            body = verifying.verify_log(log, lines, keys, "the log")
    output.show(body, verifying.parts)
    if not body["ok"]:
        raise CommandFailed(f"{body['problems']} problems were found in {body['source']}")


@app.command("public-key")
def public_key(context: typer.Context, json: Json = False) -> None:
    """Print the key that checkpoints are checked with, for those who check them elsewhere."""
    from api.cli.ending import CommandFailed
    from api.cli.settings_here import settings_here
    from infra.audit_keys import AuditKeyError, signing_key

    output = output_of(settings_of(context, as_json=json))
    try:
        key = signing_key(settings_here().audit_signing_key).public
    except AuditKeyError as error:
        raise CommandFailed(str(error)) from None
    output.show({"key_id": key.id, "public_key": key.pem}, lambda body: [body["public_key"].rstrip()])


def _moment(text: str, option: str) -> "Moment":
    from api.cli.audit.log import moment

    try:
        return moment(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, or a position", param_hint=option) from None
