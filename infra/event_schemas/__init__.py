"""The stored form of every event in every version that was ever released, as JSON Schema: a file each, never changed.

`schema_of` makes the one of the code; a test holds the newest files against it, so that a form which changes without a
new version is found, also where no example shows it.
"""

from collections.abc import Mapping
from importlib import resources
from typing import Any

import orjson
from pydantic import TypeAdapter

from domain.event import Event
from infra.mapper import METADATA

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILE = "{name}.v{version}.json"
_BY_NAME = ("properties", "$defs")  # objects whose keys are names, and no words of the schema

Schema = dict[str, Any]


def released() -> Mapping[str, Mapping[str, Schema]]:
    """By the event's name and its version."""
    found: dict[str, dict[str, Schema]] = {}
    for file in sorted(resources.files(__name__).iterdir(), key=lambda file: file.name):
        name, _, version = file.name.removesuffix(".json").rpartition(".v")
        if file.name.endswith(".json"):
            found.setdefault(name, {})[version] = orjson.loads(file.read_bytes())
    return found


def schema_of(cls: type[Event]) -> Schema:
    """Of the object that is stored for such an event, beside its stream, version, position and name."""
    schema: Schema = {}
    definitions: Schema = {}
    for part, adapter in (("data", TypeAdapter(cls)), ("metadata", METADATA)):
        made = adapter.json_schema(mode="serialization")
        definitions |= made.pop("$defs", {})
        schema[part] = made
    properties = {"v": {"const": cls.VERSION}, **schema}
    stored = {"type": "object", "properties": properties, "required": list(properties), "$defs": definitions}
    return {"$schema": DIALECT, "title": f"{cls.NAME} version {cls.VERSION}", **_bare(stored)}


def _bare(schema: Any) -> Any:
    """Without titles and descriptions, which may change while the form does not."""
    match schema:
        case dict():
            words = {key: one for key, one in schema.items() if key not in {"title", "description"}}
            return {key: _named(one) if key in _BY_NAME else _bare(one) for key, one in words.items()}
        case list():
            return [_bare(one) for one in schema]
        case _:
            return schema


def _named(schemas: dict[str, Any]) -> Schema:
    return {name: _bare(schema) for name, schema in schemas.items()}
