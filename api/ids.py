"""Ids as callers see them: opaque, and never parsed by who gets them (contract http.md 1.1)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

ID_PATTERN = "^[A-Za-z0-9_-]{8,64}$"
APPLICATION, BATCH = "01a20a42eec471729330c1c9b865f0e2", "01a20a44d3c07c2b9b1d5f0e7a6c1b90"  # examples


def _id(example: str) -> dict[str, Any]:
    return {"type": "string", "pattern": ID_PATTERN, "examples": [example]}


ApplicationId = Annotated[str, WithJsonSchema(_id(APPLICATION))]
AppId = Annotated[str, WithJsonSchema(_id(APPLICATION))]
BatchId = Annotated[str, WithJsonSchema(_id(BATCH))]
StatusUrl = Annotated[str, Field(examples=[f"/applications/{APPLICATION}/status"])]

# What stands in a path, by its name there.
IN_PATHS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "application_id": {"description": "Of the application, or of one of its entries", "schema": _id(APPLICATION)},
        "app_id": {
            "description": "Of the entry, a key of the list: as the application's, if that has one job",
            "schema": _id(APPLICATION),
        },
        "batch_id": {"description": "Of the batch", "schema": _id(BATCH)},
    }
)
