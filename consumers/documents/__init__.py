"""The document port: resume and cover letter for one job (design 7, contract http.md 5.1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from consumers.entry_points import load_adapter

GROUP = "app_manager.document_writers"


@dataclass(frozen=True, slots=True)
class DocumentRequest:
    """What a writer may use. `job` has the fields of contract http.md 1.8; each may be null."""

    job: Mapping[str, Any]
    style: str | None
    cv_text: str | None  # None: no CV was given, or its text cannot be read
    application_id: str


@dataclass(frozen=True, slots=True)
class WrittenDocuments:
    """Structured JSON, or None for what was not made."""

    resume_optimized: dict[str, Any] | None
    cover_letter: dict[str, Any] | None


class DocumentWriter(Protocol):
    """Made without arguments; found by entry point."""

    async def write(self, request: DocumentRequest) -> WrittenDocuments: ...


def find_writer(name: str) -> DocumentWriter:
    """The writer that the setting `DOCUMENT_WRITER` names. ValueError, in one line, if there is none.

    Looks through the installed packages, so it is not for the event loop.
    """
    try:
        writer: DocumentWriter = load_adapter(GROUP, name)()
    except ValueError as error:
        raise ValueError(f"DOCUMENT_WRITER: {error}") from error
    return writer
