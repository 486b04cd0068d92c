"""`app-manager projections`: the read models, for operators (contract cli.md 5)."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from api.cli.client.commands import Json, group, output_of, settings_of
from api.cli.client.output import Output, Parts, plain, table
from api.cli.ending import CommandFailed
from api.cli.operators import parked_commands

app = group("Read models, for operators: how far they are, and what builds and checks them.")
app.add_typer(parked_commands.app, name="parked")

Names = Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="Read models; see `projections status`.")]
Sample = Annotated[
    int | None,
    typer.Option(
        "--sample",
        min=1,
        metavar="N",
        help="Only the streams of N events, chosen by chance. No sample tells of `totals`: --all leaves it out.",
    ),
]
Name = Annotated[str, typer.Argument(help="The read model.")]
All = Annotated[bool, typer.Option("--all", help="All read models.")]


@app.command()
def status(context: typer.Context, json: Json = False) -> None:
    """Show each build of each read model: how far it is, how fast, and who projects it. Takes a second."""
    from api.cli.operators.standing import look
    from api.cli.operators.stores import run

    output = _output(context, json)
    output.show(run(look), _standings)


@app.command()
def verify(
    context: typer.Context, names: Names = None, all_: All = False, sample: Sample = None, json: Json = False
) -> None:
    """Fold the log and compare every document with the live read models; exit code 1 if any differs."""
    from api.cli.operators.checking import check, chosen
    from api.cli.operators.stores import run

    models, output = chosen(names, all_, sampled=sample is not None), _output(context, json)
    body = run(check(models, sample))
    output.show(body, _comparisons)
    if not body["equal"]:
        raise CommandFailed("the live read models are not what the log says")


@app.command()
def rebuild(
    context: typer.Context,
    names: Names = None,
    all_: All = False,
    keep_old: Annotated[bool, typer.Option("--keep-old", help="Keep the former build for a roll-back.")] = False,
    json: Json = False,
) -> None:
    """Build read models anew from the log beside the live ones, check them, and switch. May be interrupted."""
    from api.cli.operators.rebuilding import chosen, rebuilding
    from api.cli.operators.stores import run

    models, output = chosen(names, all_), _output(context, json)
    output.show(run(rebuilding(models, keep=keep_old)), _switches)


@app.command()
def rollback(context: typer.Context, name: Name, json: Json = False) -> None:
    """Go back to the build that `rebuild --keep-old` has kept."""
    from api.cli.operators.rebuilding import chosen, rolling_back
    from api.cli.operators.stores import run

    [model], output = chosen([name], False), _output(context, json)
    output.show(run(rolling_back(model)), _switches)


def _switches(body: dict[str, Any]) -> Parts:
    for one in body["data"]:
        former = f", instead of {plain(one['former'])}" if one["former"] else ""
        yield f"{plain(one['build'])} is read now, from position {one['position']} on{former}"
        if one["differences"]:
            yield f"{plain(one['former'])} differed from the log in {one['differences']} documents"
        if one["former"]:
            yield f"{plain(one['former'])} is {plain(one['then'])}"


def _comparisons(body: dict[str, Any]) -> Parts:
    columns = ["Read Model", "Build", "Position", "Documents", "Differences", "Checksum", "Of the Log"]
    yield table("Comparison", columns, [_comparison(one) for one in body["data"]])
    for one in body["data"]:
        yield from (_difference(one["name"], found) for found in one["listed"])
        if one["differences"] > len(one["listed"]):
            yield f"{plain(one['name'])}: {one['differences'] - len(one['listed'])} more"


def _comparison(one: dict[str, Any]) -> Sequence[str]:
    keys = ("name", "build", "position", "documents", "differences", "checksum", "expected_checksum")
    return [plain(one[key]) for key in keys]


def _difference(name: str, found: dict[str, Any]) -> str:
    where = f" in {', '.join(map(plain, found['fields']))}" if found["fields"] else ""
    return f"{plain(name)}: {plain(found['id'])} is {found['kind']}{where}"


def _standings(body: dict[str, Any]) -> Parts:
    columns = ["Read Model", "Build", "Use", "State", "Position", "Lag", "Lag (s)", "Events/s", "Parked", "Lease"]
    yield table("Read Models", columns, [_standing(one) for one in body["data"]])
    yield f"The log's head is {body['head']}."
    yield from (f"{plain(one['build'])} stopped: {plain(one['error'])}" for one in body["data"] if one["error"])


def _standing(one: dict[str, Any]) -> Sequence[str]:
    use = f"old, until {one['dropped_at'][11:19]}" if one["dropped_at"] else one["use"]
    lease = "free" if one["holder"] is None else f"{one['holder'][:8]}, {one['lease_seconds']:.1f} s"
    numbers = (one["position"], one["lag_events"], f"{one['lag_seconds']:.1f}", f"{one['events_per_second']:.0f}")
    return [one["name"], one["build"], use, one["state"], *map(plain, numbers), plain(one["parked"]), lease]


def _output(context: typer.Context, json: bool) -> Output:
    return output_of(settings_of(context, as_json=json))
