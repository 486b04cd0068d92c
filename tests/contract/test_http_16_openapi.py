"""GET /openapi.json and /docs: the document against what is declared and published (contract http.md 16).

That real answers agree with it, each test of the HTTP contract sees to (`tests/document.py`).
"""

import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest

from api.app import OPERATIONS
from api.errors import KINDS
from api.ids import IN_PATHS
from api.openapi.document import document_of
from api.openapi.introduction import TAGS
from api.operations import VARIABLE, Operation
from domain.job import Job
from infra.settings import Settings
from tests.api import Api
from tests.document import Node, document, resolve
from tests.published import codes, section, table

pytestmark = pytest.mark.asyncio(loop_scope="module")

RATES: set[str] = set() if any(kind.status == 429 for kind in KINDS.values()) else {"429"}  # once limits are built


def described() -> Iterator[tuple[str, str, Node]]:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def nodes(node: Any) -> Iterator[Node]:
    """All objects in it."""
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from nodes(child)
    elif isinstance(node, list):
        for child in node:
            yield from nodes(child)


def operation_at(method: str, path: str) -> Node:
    found: Node = document()["paths"][path][method.lower()]
    return found


def error_codes(operation: Node, status: str) -> set[str]:
    [media] = resolve(operation["responses"][status])["content"].values()
    return set(media["schema"]["properties"]["code"]["enum"])


# -- it is what is declared -------------------------------------------------------------------------------------------


async def test_it_holds_every_operation_and_no_other(api: Api) -> None:
    answer = await api.ask("GET", "/openapi.json")
    assert answer.json == document()
    assert document()["openapi"] == "3.1.0"
    assert {(method, path) for method, path, _ in described()} == {(one.method, one.path) for one in OPERATIONS}


async def test_it_is_openapi_by_the_schema_that_is_published_for_it() -> None:
    from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

    assert [f"{error.instance_path}: {error.message}" for error in OPENAPI_31_VALIDATOR.iter_errors(document())] == []


async def test_every_reference_leads_somewhere() -> None:
    for node in nodes(document()):
        if "$ref" in node:
            resolve(node)


async def test_every_operation_can_be_told_from_the_others_and_understood() -> None:
    names = [operation["operationId"] for _, _, operation in described()]
    assert len(set(names)) == len(names)
    for method, path, operation in described():
        assert operation["summary"], (method, path)
        assert set(operation["tags"]) <= set(TAGS), f"{path}: name its tag in Operations(...), or describe it in TAGS"
        parameters = [(resolve(one)["in"], resolve(one)["name"]) for one in operation["parameters"]]
        assert len(set(parameters)) == len(parameters), (method, path)
        for parameter in operation["parameters"]:
            assert resolve(parameter).get("description"), f"{path}: describe {resolve(parameter)['name']}"
    for name, schema in document()["components"]["schemas"].items():
        assert schema.get("description") or "enum" in schema, f"{name} needs a docstring"


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
async def test_what_is_declared_suffices_for_the_document(operation: Operation) -> None:
    assert set(VARIABLE.findall(operation.path)) <= set(IN_PATHS), "tell in api/ids.py what that id is"
    if operation.answers is None and not operation.bodiless:
        pytest.fail(f"{operation.path}: what is not JSON says its content type: answers=Media(...)")
    is_post = operation.method == "POST" and not operation.public
    assert operation.writes or not is_post, "what takes an idempotency key tells a position"


async def test_a_token_is_needed_where_it_is_declared_and_nowhere_else() -> None:
    for operation in OPERATIONS:
        told = operation_at(operation.method, operation.path)["security"]
        assert ({"bearerAuth": []} in told) == (not operation.public or operation.path == "/metrics")
        assert ({} in told or not told) == operation.public


async def test_limits_are_those_that_hold() -> None:
    settings = Settings(max_jobs_per_application=3, max_cv_bytes=5_000)
    made = document_of(OPERATIONS, settings)
    assert made["components"]["schemas"]["JobsDocument"]["properties"]["jobs"]["maxItems"] == 3
    form = made["paths"]["/applications"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["cv"]["maxLength"] == 5_000
    assert not [node for node in nodes(made) if set(node) == {"setting"}]


# -- it is what is published ------------------------------------------------------------------------------------------


async def test_the_published_errors_of_each_call_are_told() -> None:
    """More are told: those that any call can have."""
    for row in table("http.md", "0. Endpoint index"):
        method, *_ = row["Method and path"].split()
        names = {VARIABLE.sub("{}", path) for path in codes(row["Method and path"])}
        known = [one for there, path, one in described() if there == method and VARIABLE.sub("{}", path) in names]
        if len(known) < len(names):
            continue  # not all built yet: test_http_0_index.py knows
        told = {status for operation in known for status in operation["responses"]}
        published = set(re.findall(r"\b[45]\d\d\b", row["Own error cases"]))
        assert published - told <= RATES, row["Method and path"]


async def test_every_code_that_is_sent_is_told() -> None:
    told = {
        (code, status)
        for _, _, operation in described()
        for status, answer in operation["responses"].items()
        if int(status) >= 400 and "properties" in next(iter(resolve(answer)["content"].values()))["schema"]
        for code in error_codes(operation, status)
    }
    components = document()["components"]["responses"]
    assert {"NotFound", "MethodNotAllowed"} <= set(components)
    sent = {(kind.code, str(kind.status)) for kind in KINDS.values()}
    assert sent - told == {("ERR_1005", "405")}


async def test_a_call_tells_the_errors_that_come_with_what_it_is() -> None:
    listing, submitting = operation_at("GET", "/applied"), operation_at("POST", "/applications")
    assert error_codes(listing, "401") == {"ERR_8001", "ERR_8002"}
    assert error_codes(listing, "503") == {"ERR_1008", "ERR_5002", "ERR_5003", "ERR_5004"}
    assert error_codes(submitting, "503") == {"ERR_1008", "ERR_5002", "ERR_5003"}
    assert error_codes(submitting, "409") == {"ERR_9001"}
    assert error_codes(submitting, "413") == {"ERR_1006", "ERR_4003"}
    assert error_codes(operation_at("DELETE", "/queue/dlq"), "403") == {"ERR_8003"}
    assert "401" not in operation_at("GET", "/health")["responses"]


async def test_the_job_is_the_published_one() -> None:
    [listed] = [line for line in section("http.md", "1.8 Job object").splitlines() if line.startswith("`id`")]
    told = set(document()["components"]["schemas"]["Job"]["properties"])
    assert told == set(codes(listed)) == set(Job.model_fields)


async def test_forms_and_queries_are_the_published_ones() -> None:
    form = operation_at("POST", "/applications")["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {name for row in table("http.md", "2. POST") for name in codes(row["Form field"])}
    query = {one["name"] for one in operation_at("GET", "/applied")["parameters"] if one.get("in") == "query"}
    published = {name for row in table("http.md", "4.1 GET /applied") for name in codes(row["Query"])}
    assert published <= query


# -- how it is served -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind"), [("/openapi.json", "application/json"), ("/docs", "text/html; charset=utf-8")]
)
async def test_who_has_it_already_is_told_so(api: Api, path: str, kind: str) -> None:
    first = await api.ask("GET", path)
    assert (first.status, first.headers["Content-Type"], first.headers["Cache-Control"]) == (200, kind, "no-cache")
    tag = first.headers["ETag"]
    for known in (tag, f'"other", {tag}', "*"):
        again = await api.ask("GET", path, headers={"If-None-Match": known})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    assert (await api.ask("GET", path, headers={"If-None-Match": '"other"'})).status == 200


async def test_the_page_loads_nothing_from_elsewhere(api: Api) -> None:
    answer = await api.ask("GET", "/docs")
    page = answer.body.decode()
    assert not re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", page)
    assert re.findall(r'(?:src|href)="(?!#)([^"]*)"', page) == ["data:,", "openapi.json", "openapi.json"]
    policy = dict(one.split(" ", 1) for one in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for name, directive in (("style", "style-src"), ("script", "script-src")):
        [text] = re.findall(rf"<{name}[^>]*>(.*?)</{name}>", page, re.DOTALL)
        assert len(text) > 1_000, "what stands there is the whole file"
        assert policy[directive] == f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
    assert not re.findall(r"\son\w+=|style=", page), "nothing that the policy would refuse"
