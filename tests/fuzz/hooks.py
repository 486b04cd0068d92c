"""What schemathesis cannot know from the document: which ids exist, how far the log is, and what stands in a text.

It works on a copy in which an id of the path is one that exists, every other time, a cursor is one that was told, and a
field of JSON is a document of the schema that it tells. `FUZZ_KNOWN` names a file with ids, cursor and position.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.openapi.checks import RejectedPositiveData

Node = dict[str, Any]
Case = schemathesis.Case[Any]
Values = st.SearchStrategy[Any]

KNOWN: Node = json.loads(Path(os.environ["FUZZ_KNOWN"]).read_text(encoding="utf-8"))
POSITION = "X-Event-Position"
UNTELLABLE = {
    ("ERR_4002", "cv"),  # which bytes are a PDF
    ("ERR_1001", "cursor"),  # which texts were told as a cursor
    ("ERR_1001", POSITION),  # where the log's head is
    ("ERR_1001", "as_of"),  # likewise, and what has not come yet
    *(("ERR_1001", name) for name in ("Last-Event-ID", "last_event_id")),  # likewise
}
TEXT_MAX = 60  # characters of a text in a document; the limits themselves are tested elsewhere
ITEMS_MAX = 4

schemathesis.openapi.media_type("application/pdf", st.binary(max_size=64).map(lambda more: b"%PDF-1.7\n" + more))


@schemathesis.hook
def before_load_schema(_: schemathesis.HookContext, raw_schema: Node) -> None:
    for name, schema in list(raw_schema["components"]["schemas"].items()):
        schemathesis.openapi.format(f"json-{name}", _documents(raw_schema, schema))
    for node in list(_nodes(raw_schema)):
        if node.get("in") == "path" and node["name"] in KNOWN["ids"]:
            node["schema"] = {"anyOf": [{"enum": KNOWN["ids"][node["name"]]}, {"type": "string", "minLength": 1}]}
            node.pop("example", None)
        elif node.get("in") == "query" and node["name"] == "cursor":
            node["schema"] = {"anyOf": [{"const": KNOWN["cursor"]}, node["schema"]]}
        elif "$ref" in node.get("contentSchema", ()):
            model = node.pop("contentSchema")["$ref"].rsplit("/", 1)[1]
            for bound in ("contentMediaType", "minLength", "maxLength"):
                node.pop(bound, None)
            node["format"] = f"json-{model}"
        elif node.get("format") == "binary":
            node.pop("maxLength", None)


@schemathesis.hook
def map_headers(_: schemathesis.HookContext, headers: Node | None) -> Node | None:
    """A position that a schema allows is one that the log has got to; what it does not allow stays."""
    sent = str((headers or {}).get(POSITION, ""))
    if headers and sent.isdecimal() and int(sent) < 2**53:
        return {**headers, POSITION: str(int(sent) % (KNOWN["position"] + 1))}
    return headers


@schemathesis.hook
def filter_failure(_: schemathesis.HookContext, failure: Failure, case: Case, response: schemathesis.Response) -> bool:
    """A good request may be refused for what no schema can tell of it only. What is empty counts as not sent."""
    if isinstance(failure, AcceptedNegativeData):
        return "" not in (case.query or {}).values()
    if not isinstance(failure, RejectedPositiveData) or response.status_code not in {400, 422}:
        return True
    problems = {(one["code"], one["field"]) for one in response.json()["details"] or ()}
    sent = case.body if isinstance(case.body, dict) else {}
    empty = {("ERR_1001", name) for name, value in sent.items() if value == ""}
    return not problems & (UNTELLABLE | empty)


def _nodes(node: Any) -> Iterator[Node]:
    if isinstance(node, dict):
        yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from _nodes(child)


# -- documents of a schema --------------------------------------------------------------------------------------------


def _documents(document: Node, schema: Node) -> st.SearchStrategy[str]:
    return st.deferred(lambda: _values(document, schema)).map(json.dumps)


def _values(document: Node, schema: Node) -> Values:
    if "$ref" in schema:
        return _values(document, document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    if "anyOf" in schema:
        return st.one_of([_values(document, one) for one in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = schema.get("type", "string")
    return st.one_of([_of_type(document, schema, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)])


def _of_type(document: Node, schema: Node, kind: str) -> Values:
    match kind:
        case "object":
            fields = {name: _values(document, one) for name, one in schema.get("properties", {}).items()}
            required = {name: fields.pop(name) for name in schema.get("required", ())}
            return st.fixed_dictionaries(required, optional=fields)
        case "array":
            most = min(ITEMS_MAX, schema.get("maxItems", ITEMS_MAX))
            items = _values(document, schema.get("items", {}))
            return st.lists(items, min_size=schema.get("minItems", 0), max_size=most)
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer" | "number":
            return st.integers()
        case _:
            return st.text(st.characters(codec="utf-8"), max_size=min(TEXT_MAX, schema.get("maxLength", TEXT_MAX)))
