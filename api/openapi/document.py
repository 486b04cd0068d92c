"""The whole OpenAPI 3.1 document of a process: what its operations and its settings make of it.

Nothing is written down twice: paths, parameters, bodies, answers and errors are those that the handlers declare, and
each limit is the one that holds. HEAD answers as GET does and is not listed, nor is what every path can do: a slash at
its end, or a method that it does not have.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from api.forms import MULTIPART, URLENCODED, Form
from api.health import VERSION
from api.ids import IN_PATHS
from api.openapi.answers import REFUSED_TOKENS, Answers, models_of, told_by
from api.openapi.headers import SENT, TOLD, sent_with
from api.openapi.introduction import INTRODUCTION, TAGS, TITLE
from api.openapi.schemas import Schemas, held_by, is_file, settled
from api.operations import VARIABLE, Operation
from infra.settings import Settings

Node = dict[str, Any]

BEARER = "bearerAuth"


def document_of(operations: Sequence[Operation], settings: Settings) -> Node:
    forms = [operation.form for operation in operations if operation.form is not None]
    requests = [operation.query for operation in operations if operation.query is not None]
    held = [model for form in forms for model in held_by(form)]
    schemas = Schemas(models_of(operations), dict.fromkeys([*requests, *forms, *held, *told_by(operations)]))
    answers = Answers(schemas)
    paths: dict[str, Node] = {}
    for operation, name in _named(operations):
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, name, schemas, answers)
    _add_links(paths, schemas.components)
    made = {
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": VERSION,
            "description": INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": _tags(operations),
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "responses": dict(sorted(answers.components.items())),
            "parameters": SENT,
            "headers": TOLD,
            "securitySchemes": {BEARER: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }
    return settled(made, settings)


def tag_of(operation: Operation) -> str:
    """That of its resource, by default its module's name."""
    return operation.tag or operation.handler.__module__.rsplit(".", 1)[-1].capitalize()


def _named(operations: Iterable[Operation]) -> Iterable[tuple[Operation, str]]:
    """Each with an id of its own: the handler's name, and for its further paths the path."""
    taken: set[str] = set()
    for operation in operations:
        name = operation.handler.__name__
        if name in taken:
            name += "_at_" + "_".join(part for part in operation.path.split("/") if part and part[0] != "{")
        taken.add(name)
        yield operation, name


def _tags(operations: Iterable[Operation]) -> list[Node]:
    """In the order of the introduction, then those that it does not know, with what their module is for."""
    modules = {tag_of(operation): operation.handler.__module__ for operation in operations}
    unknown = {tag: (sys.modules[name].__doc__ or "").split("\n")[0] for tag, name in modules.items()}
    told = {**{tag: text for tag, text in TAGS.items() if tag in modules}, **unknown, **TAGS}
    return [{"name": tag, "description": text} for tag, text in told.items() if tag in modules]


def _described(operation: Operation, name: str, schemas: Schemas, answers: Answers) -> Node:
    summary, _, more = (operation.handler.__doc__ or name).strip().partition(".")
    made: Node = {
        "operationId": name,
        "tags": [tag_of(operation)],
        "summary": " ".join(summary.split()),
        "description": " ".join(more.split()),
        "parameters": [*_in_path(operation), *_in_query(operation, schemas), *sent_with(operation)],
        "security": _security(operation),
        "responses": answers.of(operation),
    }
    if operation.form is not None:
        made["requestBody"] = _body(operation.form, schemas)
    if operation.messages:
        made["x-messages"] = {"anyOf": [schemas.request(model) for model in operation.messages]}
    return {key: value for key, value in made.items() if value != ""}


def _security(operation: Operation) -> list[Node]:
    """Some public calls ask for a token by setting, and declare that they can refuse it."""
    if not operation.public:
        return [{BEARER: []}]
    return [{}, {BEARER: []}] if set(REFUSED_TOKENS) <= set(operation.errors) else []


def _in_path(operation: Operation) -> list[Node]:
    return [
        {"name": name, "in": "path", "required": True, **IN_PATHS.get(name, {"schema": {"type": "string"}})}
        for name in VARIABLE.findall(operation.path)
    ]


TOKEN_IN_QUERY: Node = {
    "name": "token",
    "in": "query",
    "description": "The token, where a browser sends no header",
    "required": False,
    "schema": {"type": "string"},
}


def _in_query(operation: Operation, schemas: Schemas) -> list[Node]:
    token = [TOKEN_IN_QUERY] if operation.token_in_query else []
    if operation.query is None:
        return token
    required = {name for name, field in operation.query.model_fields.items() if field.is_required()}
    asked = [
        _parameter(name, schema, required=name in required)
        for name, schema in schemas.parameters(operation.query).items()
    ]
    return [*asked, *token]


def _parameter(name: str, schema: Mapping[str, Any], *, required: bool) -> Node:
    told = {"name": name, "in": "query", "description": schema.get("description", ""), "required": required}
    told["allowEmptyValue"] = not required
    rest = {key: value for key, value in schema.items() if key not in {"description", "examples"}}
    examples = schema.get("examples")
    return {**told, "schema": rest, **({"example": examples[0]} if examples else {})}


def _body(form: type[Form], schemas: Schemas) -> Node:
    files = {name: field for name, field in form.model_fields.items() if is_file(field.annotation)}
    whole = schemas.form(form, files=True)
    encoding = {name: {"contentType": whole["properties"][name]["contentMediaType"]} for name in files}
    return {
        "description": f"{URLENCODED} where no file is sent",
        "required": True,
        "content": {
            MULTIPART: {"schema": whole, "encoding": encoding},
            URLENCODED: {"schema": schemas.form(form, files=False)},
        },
    }


# -- from an answer to the next question ------------------------------------------------------------------------------

ASKED_WITH = (("application_id", "application_id"), ("application_id", "app_id"), ("batch_id", "batch_id"))


def _add_links(paths: Mapping[str, Node], schemas: Mapping[str, Node]) -> None:
    """Whoever is told an id may ask with it. An application's is also that of its entry, if it has one job."""
    every = [operation for methods in paths.values() for operation in methods.values()]
    for answer in (methods["post"]["responses"]["200"] for methods in paths.values() if "post" in methods):
        links = {
            other["operationId"]: _link(other, told, taken)
            for told, taken in ASKED_WITH
            if told in _fields(answer, schemas)
            for other in every
            if any(one.get("name") == taken for one in other["parameters"])
        }
        if links:
            answer["links"] = links


def _link(operation: Node, told: str, taken: str) -> Node:
    return {"operationId": operation["operationId"], "parameters": {taken: f"$response.body#/{told}"}}


def _fields(answer: Node, schemas: Mapping[str, Node]) -> Mapping[str, Any]:
    [media] = answer["content"].values()
    name = media["schema"].get("$ref", "").rsplit("/", 1)[-1]
    found: Mapping[str, Any] = schemas.get(name, {}).get("properties", {})
    return found
