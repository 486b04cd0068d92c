"""One entry of the setting `PORTALS`: the fields that every adapter has (contract config.md)."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consumers.portals import Delivery

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PerSecond = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PortalEntry(BaseModel):
    """Fields of the adapter's own stand beside these; an adapter that knows them all may forbid others."""

    model_config = ConfigDict(frozen=True, extra="allow")

    adapter: str = "http"
    timeout: Seconds
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 8
    rate: PerSecond | None = None
    delivery: Delivery = Delivery.AT_MOST_ONCE


def one_line(error: ValidationError) -> str:
    """Every mistake of an entry, without the values: they may hold secrets."""
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
