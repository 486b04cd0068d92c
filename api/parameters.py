"""Query parameters: what their texts mean (contract http.md 1.1).

A parameter that is empty counts as not sent, one that nobody declared is ignored, and of one that is sent twice the
first counts, unless it is declared as Repeated.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import Annotated, TypeVar

from multidict import MultiMapping
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from api.errors import ValidationFailed, problems_of

DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
DATETIME = re.compile(r"\d{4}-?\d{2}-?\d{2}[T ]\d{2}.*", re.ASCII)
UNESCAPED_PLUS = re.compile(r"(.*[T ]\d{2}.*) (\d{2}:?(?:\d{2})?)", re.ASCII)  # `+` in a query is read as a space
INTEGER = re.compile(r"-?[0-9]+")
BOOLEANS = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off"), False)
DAY_ENDS = time(23, 59, 59, 999_000)  # times are whole milliseconds


Repeated = tuple[str, ...]


class Query(BaseModel):
    """The parameters of an operation; each field is one."""

    model_config = ConfigDict(frozen=True)


Q = TypeVar("Q", bound=Query)


def parse_query(model: type[Q], sent: Mapping[str, str]) -> Q:
    """Raises ValidationFailed, which names each parameter that cannot be used."""
    values = {
        name: value for name, field in model.model_fields.items() if (value := _sent(sent, name, field.annotation))
    }
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = problems_of(error)
        names = ", ".join(dict.fromkeys(p.field for p in problems if p.field))
        raise ValidationFailed(f"Bad query: {names}", problems) from None


def _sent(sent: Mapping[str, str], name: str, type: object) -> str | Repeated | None:
    if type == Repeated and isinstance(sent, MultiMapping):
        return tuple(text for text in sent.getall(name, ()) if text)
    return sent.get(name)


def _integer(text: object) -> object:
    if isinstance(text, str) and not INTEGER.fullmatch(text):
        raise ValueError("should be an integer")
    return text


def parse_datetime(text: str) -> datetime:
    """In UTC; without an offset it is UTC. Raises ValueError for what is neither date nor ISO 8601 datetime."""
    text = text.strip().upper()
    if found := UNESCAPED_PLUS.fullmatch(text):
        text = f"{found[1]}+{found[2]}"
    if not DATE.fullmatch(text) and not DATETIME.fullmatch(text):
        raise ValueError("should be YYYY-MM-DD or an ISO 8601 datetime")
    try:
        found_at = datetime.fromisoformat(text)
        return (found_at if found_at.tzinfo else found_at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("should be YYYY-MM-DD or an ISO 8601 datetime") from None


def _begin(text: object) -> object:
    return parse_datetime(text) if isinstance(text, str) else text


def _end(text: object) -> object:
    """A bare date covers its whole day."""
    if not isinstance(text, str):
        return text
    at = parse_datetime(text)
    return datetime.combine(at, DAY_ENDS, UTC) if DATE.fullmatch(text.strip()) else at


def _boolean(text: object) -> object:
    if not isinstance(text, str):
        return text
    if text.strip().lower() not in BOOLEANS:
        raise ValueError("should be true, false, 1, 0, yes, no, on or off")
    return BOOLEANS[text.strip().lower()]


Boolean = Annotated[bool, BeforeValidator(_boolean)]
Integer = Annotated[int, BeforeValidator(_integer)]
Begin = Annotated[datetime, BeforeValidator(_begin), Field(description="Submitted at that time or later")]
End = Annotated[datetime, BeforeValidator(_end), Field(description="Submitted until then; a date is that whole day")]
Limit = Annotated[Integer, Field(ge=1, le=100, description="Entries of a page")]
PortalFilter = Annotated[str, Field(description="The whole name, in any case")]
