"""What all lists have in common: the parameters of a page, and what is told of it (contract http.md 4.1)."""

from collections.abc import Awaitable
from typing import Annotated

from pydantic import BaseModel, Field

from api.errors import Problem, ValidationFailed
from api.parameters import Limit, Query
from projections.queries import BadCursor, Page


class PageOf(Query):
    """What filters were sent for a page must be sent again with its cursor."""

    limit: Limit = 20
    cursor: Annotated[str, Field(description="`next_cursor` of the page before")] | None = None


class Pagination(BaseModel):
    """Where a page stands. The next one is asked for with `next_cursor`, null on the last."""

    limit: int
    next_cursor: str | None
    has_more: bool
    total_count: int


async def read_page(asked: PageOf, reading: Awaitable[Page]) -> tuple[Page, Pagination]:
    """Raises ValidationFailed for a cursor that no page gave."""
    try:
        page = await reading
    except BadCursor:
        raise ValidationFailed("The cursor cannot be read", [Problem("cannot be read", "cursor")]) from None
    more = page.next_cursor is not None
    return page, Pagination(limit=asked.limit, next_cursor=page.next_cursor, has_more=more, total_count=page.total)
