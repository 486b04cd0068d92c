"""`app-manager apps`: a user's applications (contract cli.md 4)."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.client.commands import Force, Json, begin, group
from api.cli.client.output import NOTHING, Parts, panel, plain, shortened, table, when

if TYPE_CHECKING:
    from rich.console import RenderableType

TITLE_LENGTH, COMPANY_LENGTH = 40, 25
_NOT_FOUND = {"ERR_2001", "ERR_3001"}  # no such application; it has no such job

app = group("A user's applications: list, look at, retry and cancel them.")


def _id(text: str) -> str:
    if text.strip(".") == "" or text.isspace():  # to a web server these are places
        raise typer.BadParameter("is no id of an application")
    return text


AppId = Annotated[str, typer.Argument(metavar="APP_ID", callback=_id, help="As `apps list` prints it.")]
Failed = Annotated[bool, typer.Option("--failed", "-f", help="Of the failed ones.")]


class Status(StrEnum):
    SUCCESS = "success"
    FAILED = "failed"


@app.command("list")
def list_(  # noqa: PLR0913, PLR0917  its options
    context: typer.Context,
    failed: Failed = False,
    status: Annotated[Status | None, typer.Option("--status", "-s", case_sensitive=False, help="Which list.")] = None,
    portal: Annotated[str | None, typer.Option("--portal", "-p", help="Only of this portal.")] = None,
    company: Annotated[str | None, typer.Option("--company", "-c", help="Only where this is in its name.")] = None,
    title: Annotated[str | None, typer.Option("--title", "-t", help="Only where this is in the title.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="How many at most.")] = 20,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Go on where the last page ended.")] = None,
    json: Json = False,
) -> None:
    """List the applications that succeeded, or failed; the newest first."""
    if failed and status is Status.SUCCESS:
        raise typer.BadParameter("--failed and --status success do not go together")
    of_failed = failed or status is Status.FAILED
    query = {"limit": limit, "cursor": cursor, "portal": portal, "company_name": company, "title": title}
    api, output = begin(context, as_json=json)
    with api:
        body = api.get("/fail_applied" if of_failed else "/applied", query).json
    output.show(body, lambda body: _page("Failed" if of_failed else "Successful", body))


@app.command()
def get(context: typer.Context, app_id: AppId, failed: Failed = False, json: Json = False) -> None:
    """Show the resume and the cover letter that were written for a job."""
    from api.cli.client.connection import in_path

    api, output = begin(context, as_json=json)
    hints = () if failed else ("hint: if it failed, try --failed",)
    with api, _not_found(app_id, *hints):
        body = api.get(f"/{'fail_applied' if failed else 'applied'}/{in_path(app_id)}").json
    output.show(body, lambda body: _details(app_id, body))


@app.command()
def status(context: typer.Context, app_id: AppId, json: Json = False) -> None:
    """Show where an application stands."""
    from api.cli.client.connection import in_path

    api, output = begin(context, as_json=json)
    with api, _not_found(app_id):
        body = api.get(f"/applications/{in_path(app_id)}/status").json
    output.show(body, lambda body: [_standing(body)])


@app.command()
def retry(context: typer.Context, app_id: AppId, force: Force = False, json: Json = False) -> None:
    """Try the failed jobs of a failed application again."""
    _act(context, app_id, "Retry", "POST", "/retry", force=force, json=json)


@app.command()
def cancel(context: typer.Context, app_id: AppId, force: Force = False, json: Json = False) -> None:
    """Take a pending application back."""
    _act(context, app_id, "Cancel", "DELETE", "", force=force, json=json)


def _act(context: typer.Context, app_id: str, verb: str, method: str, ending: str, *, force: bool, json: bool) -> None:
    from api.cli.client.asking import confirmed
    from api.cli.client.connection import in_path

    api, output = begin(context, as_json=json)
    with api, _not_found(app_id):
        if confirmed(f"{verb} application {plain(app_id)}?", force=force):
            body = api.change(method, f"/applications/{in_path(app_id)}{ending}").json
            output.show(body, lambda body: [f"{plain(body['application_id'])}: {plain(body['status'])}"])


@contextmanager
def _not_found(app_id: str, *hints: str) -> Iterator[None]:
    from api.cli.client.answers import ApiError

    try:
        yield
    except ApiError as error:
        if error.code not in _NOT_FOUND:
            raise
        raise error.renamed(f"Application not found: {plain(app_id)}", *hints) from None


def _page(kind: str, body: dict[str, Any]) -> Parts:
    entries, pagination = body["data"], body["pagination"]
    total, cursor = pagination["total_count"], pagination["next_cursor"]
    if not entries:
        yield f"No {kind.lower()} applications."
        return
    rows = [
        [
            plain(entry_id),
            shortened(entry["title"], TITLE_LENGTH),
            shortened(entry["company_name"], COMPANY_LENGTH),
            plain(entry["portal"]),
            plain(entry["status"]),
        ]
        for entry_id, entry in entries.items()
    ]
    yield table(f"{kind} Applications", ["ID", "Title", "Company", "Portal", "Status"], rows, whole="ID")
    more = f"; the next page: --cursor {plain(cursor)}" if pagination["has_more"] else ""
    yield f"{len(entries)} of {total} shown{more}"


def _details(app_id: str, body: dict[str, Any]) -> Parts:
    yield panel("Application Details", [("ID", plain(app_id))])
    for heading, document in (("Resume", body["resume_optimized"]), ("Cover letter", body["cover_letter"])):
        yield f"\n{heading}"
        yield _indented(document)


def _indented(document: Any) -> str:
    import orjson

    if document is None:
        return NOTHING
    return "\n".join(map(plain, orjson.dumps(document, option=orjson.OPT_INDENT_2).decode().splitlines()))


def _standing(body: dict[str, Any]) -> "RenderableType":
    """What is empty is left out."""
    fields = {
        "ID": plain(body["application_id"]),
        "Status": plain(body["status"]),
        "Jobs": plain(body["job_count"]),
        "Created": when(body["created_at"]),
        "Updated": when(body["updated_at"]),
        "Processed": when(body["processed_at"]),
        "Error": plain(body["error_reason"]),
    }
    return panel("Application Status", [(name, text) for name, text in fields.items() if text != NOTHING])
