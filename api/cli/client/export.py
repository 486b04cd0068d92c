"""`app-manager export`: all of a user's entries as a file, and how much there is (contract cli.md 4)."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.client.commands import Json, begin, group
from api.cli.client.output import Parts, panel, plain

CSV = "text/csv"
EXCEL = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
STDOUT = Path("-")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

app = group("Export applications as CSV or Excel.")


def _day(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        if not _DAY.fullmatch(text):  # fromisoformat takes weeks, too
            raise ValueError
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise typer.BadParameter("is no date such as 2026-01-31") from None


Target = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; - is standard output.")]
Portal = Annotated[str | None, typer.Option("--portal", "-p", help="Only of this portal.")]
From = Annotated[
    str | None, typer.Option("--from", metavar="YYYY-MM-DD", callback=_day, help="Submitted then or later.")
]
To = Annotated[str | None, typer.Option("--to", metavar="YYYY-MM-DD", callback=_day, help="Submitted then or earlier.")]
Successful = Annotated[bool, typer.Option("--successful/--no-successful", help="With those that succeeded.")]
Failed = Annotated[bool, typer.Option("--failed/--no-failed", help="With those that failed.")]


@app.command()
def csv(
    context: typer.Context,
    output: Target = None,
    portal: Portal = None,
    from_: From = None,
    to: To = None,
    successful: Successful = True,
    failed: Failed = True,
) -> None:
    """Export as CSV, to standard output or a file."""
    query = {"stream": "true", **_filters(portal, from_, to, successful=successful, failed=failed)}
    _export(context, "/export/csv", query, CSV, output or STDOUT)


@app.command()
def excel(
    context: typer.Context,
    output: Target = None,
    portal: Portal = None,
    from_: From = None,
    to: To = None,
    successful: Successful = True,
    failed: Failed = True,
) -> None:
    """Export as an Excel file, by default applications_YYYYMMDD_HHMMSS.xlsx in the current folder."""
    query = _filters(portal, from_, to, successful=successful, failed=failed)
    _export(
        context, "/export/excel", query, EXCEL, output or Path(f"applications_{datetime.now(UTC):%Y%m%d_%H%M%S}.xlsx")
    )


@app.command()
def summary(context: typer.Context, json: Json = False) -> None:
    """Show how much there is to export."""
    api, output = begin(context, as_json=json)
    with api:
        body = api.get("/export/summary").json
    output.show(body, _summary)


def _filters(
    portal: str | None, from_: str | None, to: str | None, *, successful: bool, failed: bool
) -> dict[str, str | None]:
    if from_ and to and from_ > to:
        raise typer.BadParameter("--from is after --to")
    return {
        "portal": portal,
        "date_from": from_,
        "date_to": to,
        "include_successful": str(successful).lower(),
        "include_failed": str(failed).lower(),
    }


def _export(
    context: typer.Context, path: str, query: Mapping[str, str | None], content_type: str, target: Path
) -> None:
    from api.cli.client import download as downloading

    api, output = begin(context, as_json=False)
    if target == STDOUT:
        with api, api.download(path, query, content_type) as download:
            downloading.to_stdout(download)
        return
    with (
        api,
        downloading.written_when_complete(target) as file,
        api.download(path, query, content_type) as download,
    ):
        size = downloading.to_file(download, file)
    output.show({"file": str(target), "bytes": size}, lambda _: [f"Exported to {plain(target)} ({size} bytes)"])


def _summary(body: dict[str, Any]) -> Parts:
    fields = {
        "Total Applications": plain(body["total_applications"]),
        "Successful": plain(body["successful_applications"]),
        "Failed": plain(body["failed_applications"]),
        "Available Portals": _listed(body["available_portals"]),
        "Export Formats": _listed(body["export_formats"]),
    }
    yield panel("Export Summary", fields.items())


def _listed(names: list[str]) -> str:
    return plain(", ".join(names))
