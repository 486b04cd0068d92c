"""`app-manager queue`: how full the queues are, and dead letters, for operators (contract cli.md 4)."""

from typing import Annotated, Any

import typer

from api.cli.client.asking import confirmed
from api.cli.client.commands import Force, Json, begin, group
from api.cli.client.output import NOTHING, Parts, plain, table

app = group("Queues and dead letters, for operators.")


@app.command()
def status(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", "-j", help="Print the answer as JSON, as with -o json.")] = False,
) -> None:
    """Show how many messages wait in each queue."""
    api, output = begin(context, as_json=json)
    with api:
        body = api.get("/queue/status").json
    output.show(body, _depths)


@app.command("purge-dlq")
def purge_dlq(context: typer.Context, force: Force = False, json: Json = False) -> None:
    """Delete all dead letters. Their applications stay failed."""
    api, output = begin(context, as_json=json)
    question = "This deletes every dead letter, and cannot be undone.\nPurge the dead letter queue?"
    with api:
        if confirmed(question, force=force, deletes=True):
            body = api.change("DELETE", "/queue/dlq").json
            output.show(body, lambda body: [f"{_letters(body['purged'])} purged from {plain(body['queue'])}"])


@app.command("reprocess-dlq")
def reprocess_dlq(
    context: typer.Context,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="How many at most; all if not given.")
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Try the applications of the dead letters again."""
    api, output = begin(context, as_json=json)
    what = "all dead letters" if limit is None else f"up to {_letters(limit)}"
    with api:
        if confirmed(f"Reprocess {what}?", force=force):
            body = api.change("POST", "/queue/dlq/reprocess", {"limit": limit}).json
            output.show(body, lambda body: [_moved(body)])


def _depths(body: dict[str, Any]) -> Parts:
    dlq = body["dlq"]
    rows = [
        [plain(one["name"]), plain(one["messages"]), plain(one["consumers"]), _rate(one.get("rate"))]
        for one in (*body["queues"], dlq)
    ]
    yield table("Queue Status", ["Queue", "Messages", "Consumers", "Rate (msg/s)"], rows)
    if dlq["messages"]:
        yield f"Warning: {_letters(dlq['messages'])} in {plain(dlq['name'])}"
    else:
        yield f"The dead letter queue {plain(dlq['name'])} is empty."


def _rate(rate: float | None) -> str:
    return NOTHING if rate is None else f"{rate:.2f}"


def _moved(body: dict[str, Any]) -> str:
    skipped = f", {int(body['skipped'])} skipped" if body["skipped"] else ""
    return f"{_letters(body['moved'])} moved{skipped}"


def _letters(count: int) -> str:
    return f"{int(count)} dead letter{'' if count == 1 else 's'}"
