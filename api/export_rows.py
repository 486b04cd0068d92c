"""The rows of an export as texts, the same for every format (contract http.md 8.2)."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from api.export_columns import HEADINGS
from projections.queries import Export

Row = Sequence[str]  # a text for each heading, empty for null


async def pages_of(export: Export) -> AsyncIterator[Sequence[Row]]:
    """Raises what `Export.pages` does."""
    async for page in export.pages():
        yield [[_text(entry.get(name)) for name in HEADINGS] for entry in page]


def _text(value: object) -> str:
    if value is None:
        return ""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
