"""From our models to the JSON Schema of the OpenAPI document.

An answer's fields are always there (contract http.md 1.1), so all of them are required. What a form field of JSON holds
is a model too, and a limit that a setting tells is named by `Setting` until the document is made.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from api.form_fields import Holds, MaxBytes, Pdf
from api.forms import Form
from infra.settings import Settings

REF = "#/components/schemas/{model}"
TIMESTAMP = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z$"
BOUNDS = {"ge": "minimum", "le": "maximum"}
EXAMPLE_TIME = "2026-11-23T21:14:48.388000Z"

T = TypeVar("T")
Schema = dict[str, Any]


class _Generator(GenerateJsonSchema):
    """Pydantic's, without titles that only repeat a name, and with times as we write them."""

    def field_is_required(
        self,
        field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField,
        total: bool,
    ) -> bool:
        return self.mode == "serialization" or super().field_is_required(field, total)

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """A default is for who may leave the field out."""
        made = super().default_schema(schema)
        if self.mode == "serialization" or made.get("default", ...) is None:
            made.pop("default", None)
        return made

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        made = super().datetime_schema(schema)
        if self.mode == "serialization":
            made |= {"pattern": TIMESTAMP, "examples": [EXAMPLE_TIME]}
        return made

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """`{"type": ["string", "null"]}` where that says it all."""
        made = super().nullable_schema(schema)
        plain, *others = made.get("anyOf", [{}])
        if others == [{"type": "null"}] and isinstance(plain.get("type"), str) and "enum" not in plain:
            return {**plain, "type": [plain["type"], "null"]}
        return made


class Schemas:
    """The schemas of all models that a document names."""

    def __init__(self, answers: Iterable[type[BaseModel]], requests: Iterable[type[BaseModel]]) -> None:
        told: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "serialization") for model in answers]
        told += [(model, "validation") for model in requests]
        self._refs, found = models_json_schema(told, ref_template=REF, schema_generator=_Generator)
        self._inlined: set[str] = set()
        self._found: dict[str, Schema] = found.get("$defs", {})
        for schema in self._found.values():
            schema.pop("title", None)

    @property
    def components(self) -> dict[str, Schema]:
        """Those that are referred to."""
        return {name: self._found[name] for name in sorted(self._found) if name not in self._inlined}

    def answer(self, model: type[BaseModel]) -> Schema:
        return dict(self._refs[model, "serialization"])

    def request(self, model: type[BaseModel]) -> Schema:
        return dict(self._refs[model, "validation"])

    def inlined(self, model: type[BaseModel]) -> Schema:
        """That of a request, and no component."""
        name = self.request(model)["$ref"].rsplit("/", 1)[1]
        self._inlined.add(name)
        return self._found[name]

    def parameters(self, model: type[BaseModel]) -> Mapping[str, Schema]:
        """One for each field of a query. None is not sent, so it is no value."""
        return {name: _spelled(_without_null(schema)) for name, schema in self.inlined(model)["properties"].items()}

    def form(self, model: type[Form], *, files: bool) -> Schema:
        """Of a form's fields; `files`: with those that only a multipart form can hold."""
        made = self.inlined(model)
        fields = {
            name: self._form_field(_without_null(made["properties"][name]), declared.metadata)
            for name, declared in model.model_fields.items()
            if files or not is_file(declared.annotation)
        }
        return {"type": "object", "properties": fields, "required": made.get("required", [])}

    def _form_field(self, schema: Schema, marks: list[Any]) -> Schema:
        if name := schema.get("$ref", "").rpartition("/")[2]:
            self._inlined.add(name)
            schema = {**self._found[name], **{key: value for key, value in schema.items() if key != "$ref"}}
        for mark in marks:
            if isinstance(mark, MaxBytes):
                schema = {**schema, "minLength": 1, "maxLength": mark.limit}
                schema.pop("format", None)
            elif isinstance(mark, Holds):
                content = {"contentMediaType": "application/json", "contentSchema": self.request(mark.model)}
                schema = {**schema, **content}
        return schema


def held_by(form: type[Form]) -> Iterable[type[BaseModel]]:
    """What its fields of JSON hold."""
    for declared in form.model_fields.values():
        yield from (mark.model for mark in declared.metadata if isinstance(mark, Holds))


def is_file(annotation: Any) -> bool:
    return Pdf in {annotation, *get_args(annotation)}


def settled(node: T, settings: Settings) -> T:
    """With the value of each setting that is named, and with keys that are plain text."""
    if isinstance(node, dict):
        if set(node) == {"setting"}:
            value: T = getattr(settings, node["setting"])
            return value
        return {str(key): settled(value, settings) for key, value in node.items()}  # type: ignore[return-value]
    if isinstance(node, list):
        return [settled(one, settings) for one in node]  # type: ignore[return-value]
    return node


def _spelled(schema: Schema) -> Schema:
    """Pydantic leaves a bound that stands behind a validator of ours under its own name."""
    return {BOUNDS.get(key, key): value for key, value in schema.items()}


def _without_null(schema: Schema) -> Schema:
    if isinstance(schema.get("type"), list):
        [kind] = [kind for kind in schema["type"] if kind != "null"]
        return {**schema, "type": kind}
    if "anyOf" in schema:
        choices = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        return {**choices[0], **rest} if len(choices) == 1 else {**rest, "anyOf": choices}
    return schema
