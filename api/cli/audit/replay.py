"""`audit replay`: an application as it stood at a position, in the words of the API (contract http.md 3, 4, 5)."""

from collections.abc import Sequence
from typing import Any

from api.applications import StatusView
from api.cli.client.output import NOTHING, Parts, panel, plain, table, when
from api.details import DetailsView
from api.lists import EntryView
from domain.event import RecordedEvent
from projections.queries import EntryList, fold_entries, fold_status, up_to

Body = dict[str, Any]


def replayed(recorded: Sequence[RecordedEvent], position: int) -> Body | None:
    """None if it did not exist yet.

    `status` is what the status call answered then, `applied` and `fail_applied` its entries, each with its documents.
    """
    then = up_to(recorded, position)
    status = fold_status(then)
    if status is None:
        return None
    return {
        "position": position,
        "status": StatusView.model_validate(status).model_dump(mode="json"),
        "applied": _entries(EntryList.APPLIED, then),
        "fail_applied": _entries(EntryList.FAILED, then),
    }


def _entries(kind: EntryList, then: Sequence[RecordedEvent]) -> Body:
    return {
        entry["app_id"]: EntryView.model_validate(entry).model_dump(mode="json")
        | DetailsView.model_validate(entry).model_dump(mode="json")
        for entry in fold_entries(kind.value, then)
    }


def parts(body: Body) -> Parts:
    status = body["status"]
    fields = {
        "ID": status["application_id"],
        "At Position": body["position"],
        "Status": status["status"],
        "Jobs": status["job_count"],
        "Created": when(status["created_at"]),
        "Updated": when(status["updated_at"]),
        "Processed": when(status["processed_at"]),
        "Error": status["error_reason"],
    }
    shown = {name: plain(value) for name, value in fields.items()}
    yield panel("Application Status", [(name, value) for name, value in shown.items() if value != NOTHING])
    for title, name in (("Applied", "applied"), ("Failed", "fail_applied")):
        if body[name]:
            yield table(title, ("ID", "Title", "Company", "Portal", "Reason"), _rows(body[name]), whole="ID")


def _rows(entries: Body) -> list[list[str]]:
    columns = ("title", "company_name", "portal", "error_reason")
    return [[plain(id), *(plain(entry[column]) for column in columns)] for id, entry in entries.items()]
