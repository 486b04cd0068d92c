"""Holds answers against the OpenAPI document: every answer that any test of the API gets.

Statuses, headers, content types and bodies must be those that the document tells of that operation, and nothing else:
a field or a header of ours that it does not tell fails too. A path or a method that it does not have gets the two
errors that it tells for those.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema_rs
import orjson

from api.app import OPERATIONS
from api.openapi.document import document_of
from infra.settings import Settings

Node = dict[str, Any]

# Of HTTP itself, or the same on every answer (contract config.md, CORS_ALLOWED_ORIGINS).
UNTOLD = frozenset(
    {"connection", "content-length", "content-type", "date", "keep-alive", "server", "transfer-encoding"}
    | {"x-content-type-options", "x-frame-options", "referrer-policy", "content-security-policy"}
    | {"cross-origin-resource-policy", "cache-control", "vary", "etag", "content-encoding", "x-accel-buffering"}
    | {"access-control-allow-origin", "access-control-expose-headers"}
)
CORRELATION = frozenset({"x-correlation-id", "x-request-id"})


@cache
def document() -> Node:
    made: Node = orjson.loads(orjson.dumps(document_of(OPERATIONS, Settings())))
    return made


def resolve(node: Node) -> Node:
    """Through the references of the document."""
    while "$ref" in node:
        found: Any = document()
        for key in node["$ref"].removeprefix("#/").split("/"):
            found = found[key]
        node = found
    return node


def check_answer(method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Fails with what the document does not tell. `path` as it was sent, without the query."""
    template = _template(path)
    operation = None if template is None else _operation(template, method)
    if operation is not None:
        label = f"{method} {template} {status}"
        told = operation["responses"].get(str(status))
        assert told is not None, f"{label} is not in the document: {sorted(operation['responses'])}"
        _check(label, resolve(told), headers, body if method != "HEAD" else None)
    elif template is not None:
        _check_refused(f"{method} {template}", method, status, headers, body, 405, "MethodNotAllowed")
    else:
        _check_refused(f"{method} {path}", method, status, headers, body, 404, "NotFound")


def _check_refused(
    label: str, method: str, status: int, headers: Mapping[str, str], body: bytes, expected: int, name: str
) -> None:
    if method == "OPTIONS" and "Access-Control-Allow-Methods" in headers:
        return  # a preflight
    if status == 308 and expected == 404:
        assert _template(headers["Location"].partition("?")[0]) is not None, f"{label} leads nowhere"
        return
    if status == 429:
        expected, name = 429, "429-7001"
    assert status == expected, f"{label} is not in the document, and answers {status}"
    _check(label, document()["components"]["responses"][name], headers, body if method != "HEAD" else None)


def _operation(template: str, method: str) -> Node | None:
    found: Node | None = document()["paths"][template].get("get" if method == "HEAD" else method.lower())
    return found


def _check(label: str, told: Node, headers: Mapping[str, str], body: bytes | None) -> None:
    _check_headers(label, told.get("headers", {}), headers)
    if "content" not in told:
        assert not body, f"{label} has a body that is not in the document"
        return
    [(content_type, media)] = told["content"].items()
    sent = headers.get("Content-Type", "")
    assert sent.replace(" ", "") == content_type.replace(" ", ""), f"{label}: {sent} is not {content_type}"
    if body is not None and content_type == "application/json":
        problems = [
            f"{error.instance_path}: {error.message}"
            for error in _validator(media["schema"]).iter_errors(body_of(body))
        ]
        assert not problems, f"{label}: {problems}"


def body_of(body: bytes) -> Any:
    return orjson.loads(body)


def _check_headers(label: str, told: Node, sent: Mapping[str, str]) -> None:
    names = {name.lower() for name in sent}
    known = {name.lower() for name in told}
    missing = {name.lower() for name, header in told.items() if resolve(header).get("required")} - names
    assert not missing, f"{label} lacks the headers {sorted(missing)}"
    untold = names - known - UNTOLD
    assert not untold, f"{label} has headers that are not in the document: {sorted(untold)}"
    for name, header in told.items():
        if name.lower() in names:
            _check_header(f"{label} {name}", resolve(header)["schema"], sent[name])


def _check_header(label: str, schema: Node, value: str) -> None:
    read: Any = int(value) if schema["type"] == "integer" and re.fullmatch(r"-?\d+", value) else value
    assert _validator(schema).is_valid(read), f"{label}: {value!r} is not {schema}"


# -- what it compares with --------------------------------------------------------------------------------------------


def _template(path: str) -> str | None:
    """The path of the document that was asked; one that is written out goes before one with a variable."""
    return next((template for template, pattern in _patterns() if pattern.fullmatch(path)), None)


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    paths = sorted(document()["paths"], key=lambda path: path.count("{"))
    return [(path, re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)))) for path in paths]


_validators: dict[bytes, jsonschema_rs.Validator] = {}


def _validator(schema: Node) -> jsonschema_rs.Validator:
    key = orjson.dumps(schema)
    if key not in _validators:
        whole = {**schema, "components": {"schemas": _closed()}}
        _validators[key] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return _validators[key]


@cache
def _closed() -> Mapping[str, Node]:
    """The schemas, with no room for fields that they do not tell."""
    return {
        name: {**schema, "unevaluatedProperties": False} if "properties" in schema else schema
        for name, schema in document()["components"]["schemas"].items()
    }
