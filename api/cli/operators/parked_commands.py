"""`app-manager projections parked`: its commands and what they print (contract cli.md 5)."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from api.cli.client.commands import Json, group, output_of, settings_of
from api.cli.client.output import Output, Parts, panel, plain, shortened, table, when

app = group("Streams that wait because a read model cannot take an event of theirs.")

Streams = Annotated[list[str] | None, typer.Argument(metavar="STREAM...", help="As `list` shows them.")]
Shown = Annotated[list[str], typer.Argument(metavar="STREAM...", help="As `list` shows them.")]
Group = Annotated[str | None, typer.Option("--group", help="All with errors alike.")]
All = Annotated[bool, typer.Option("--all", help="All that wait.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what would come of it.")]
ERROR_LENGTH = 60


@app.command("list")
def list_(context: typer.Context, json: Json = False) -> None:
    """Show what waits, and groups of alike errors."""
    from api.cli.operators.parked import listed
    from api.cli.operators.stores import run

    _output(context, json).show(run(listed), _list)


@app.command()
def show(context: typer.Context, streams: Shown, json: Json = False) -> None:
    """Show a parked stream in full, with the events that wait."""
    from api.cli.operators.parked import shown
    from api.cli.operators.stores import run

    _output(context, json).show(run(shown(streams)), _in_full)


@app.command()
def retry(
    context: typer.Context,
    streams: Streams = None,
    group: Group = None,
    all_: All = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Have the events that wait tried again, by the release that projects now. The decision is recorded."""
    from api.cli.operators.parked import Choice, deciding, retried
    from api.cli.operators.stores import run

    choice = Choice(*_one_of(streams, group, all_))
    _output(context, json).show(run(deciding(choice, retried, dry_run=dry_run)), _outcomes)


@app.command()
def skip(
    context: typer.Context,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")],
    streams: Streams = None,
    group: Group = None,
    all_: All = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Go past the event that a read model cannot take: it never shows it. The decision is recorded under your name."""
    from api.cli.operators.parked import Choice, deciding, skipped
    from api.cli.operators.stores import run

    if not reason.strip():
        raise typer.BadParameter("--reason is empty")
    choice = Choice(*_one_of(streams, group, all_))
    _output(context, json).show(run(deciding(choice, skipped(reason), dry_run=dry_run)), _outcomes)


def _one_of(streams: Sequence[str] | None, group: str | None, all_: bool) -> tuple[Sequence[str], str | None, bool]:
    if [bool(streams), bool(group), all_].count(True) != 1:
        raise typer.BadParameter("name streams, or say --group or --all")
    return streams or (), group, all_


def _list(body: dict[str, Any]) -> Parts:
    if not body["data"]:
        yield "Nothing is parked."
        return
    of_group = ("group", "projection", "event_type", "streams", "waiting")
    groups = [[*(plain(one[key]) for key in of_group), shortened(one["error"], ERROR_LENGTH)] for one in body["groups"]]
    yield table("Groups", ["Group", "Read Model", "Event", "Streams", "Waiting", "Error"], groups)
    of_stream = ("stream", "projection", "position", "event_type", "waiting", "group")
    streams = [[plain(one[key]) for key in of_stream] for one in body["data"]]
    yield table(
        "Parked Streams", ["Stream", "Read Model", "Position", "Event", "Waiting", "Group"], streams, whole="Stream"
    )


def _in_full(body: dict[str, Any]) -> Parts:
    names = {
        "Stream": "stream",
        "Read Model": "projection",
        "User": "user",
        "Position": "position",
        "Event": "event_type",
        "Group": "group",
        "Error": "error",
    }
    for one in body["data"]:
        yield panel("Parked Stream", [(name, plain(one[key])) for name, key in names.items()])
        rows = [[plain(event["position"]), plain(event["type"]), when(event["at"])] for event in one["events"]]
        yield table("Events That Wait", ["Position", "Type", "Time"], rows)


def _outcomes(body: dict[str, Any]) -> Parts:
    for one in body["data"]:
        why = f": {plain(one['error'])}" if one["error"] else ""
        yield f"{plain(one['stream'])} in {plain(one['projection'])} {plain(one['outcome'])}{why}"
    yield from [] if body["data"] else ["Nothing is parked."]


def _output(context: typer.Context, json: bool) -> Output:
    return output_of(settings_of(context, as_json=json))
