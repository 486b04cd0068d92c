"""What each operation can answer: its own view, and every error that it can give (contract http.md 1.7).

An error is listed because the operation declares it, or because of what it is: whoever needs a token can lack it,
whoever reads a position can be behind it, whoever asks a store can find it away.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import hdrs
from pydantic import BaseModel

from api.errors import (
    KINDS,
    ErrorKind,
    ErrorView,
    MethodNotAllowed,
    PayloadTooLarge,
    RouteNotFound,
    UnsupportedMediaType,
    ValidationFailed,
    kind_of_class,
)
from api.openapi.headers import EVERYWHERE, LIMIT_HEADERS, TOLD, headers, is_idempotent, told_with
from api.openapi.schemas import Schemas
from api.operations import Bucket, Media, Operation
from domain import errors as domain
from domain.errors import DomainError

Node = dict[str, Any]
Error = type[DomainError]

JSON = "application/json"
REFUSED_TOKENS = (domain.AuthenticationRequired, domain.InvalidToken, domain.TokenExpired)
STORES = (
    *(domain.StoreFailed, domain.StoreUnavailable, domain.StoreTimeout, domain.OutcomeUnknown),
    *(domain.Overloaded, domain.NewerEvent),
)
IDEMPOTENCY = (ValidationFailed, domain.IdempotencyKeyReused, domain.DuplicateRequest)
FORMS = (ValidationFailed, PayloadTooLarge, UnsupportedMediaType)
TOO_MANY = tuple(cls for cls, kind in KINDS.items() if kind.status == 429)


def errors_of(operation: Operation) -> Iterable[Error]:
    """All that it can give, each once."""
    found: list[Error] = [*operation.errors, DomainError]
    if not operation.public:
        found += (*REFUSED_TOKENS, *STORES)
    if operation.bucket is not Bucket.NONE:
        found += TOO_MANY
    if operation.query is not None:
        found.append(ValidationFailed)
    if operation.reads:
        found += (ValidationFailed, domain.ReadModelBehind)
    if is_idempotent(operation):
        found += IDEMPOTENCY
    if operation.form is not None:
        found += FORMS
    return dict.fromkeys(found)


class Answers:
    """The responses of all operations. Errors that many have alike become components."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self.components: dict[str, Node] = {
            "NotFound": self._error([RouteNotFound], headers(*EVERYWHERE, *LIMIT_HEADERS)),
            "MethodNotAllowed": self._error([MethodNotAllowed], headers(*EVERYWHERE, *LIMIT_HEADERS, hdrs.ALLOW)),
        }

    def of(self, operation: Operation) -> dict[str, Node]:
        told: dict[int, Node] = {status: self._success(operation, status) for status in operation.statuses}
        for status, when in operation.bodiless.items():
            where = headers(hdrs.LOCATION) if status in {301, 302, 303, 307, 308} else {}
            told[status] = {"description": when, "headers": {**told_with(operation, success=False), **where}}
        by_status: dict[int, list[Error]] = defaultdict(list)
        for error in errors_of(operation):
            by_status[kind_of_class(error).status].append(error)
        for status, errors in by_status.items():
            if status not in told:
                told[status] = self._refused(operation, status, errors)
        return {str(status): told[status] for status in sorted(told)}

    def _success(self, operation: Operation, status: int) -> Node:
        made: Node = {"description": _meaning(status), "headers": told_with(operation, success=status < 300)}
        match operation.answers:
            case Media(content_type=content_type, events=events):
                schema = self._event_of(events) if events else _schema_of(content_type)
                made["content"] = {content_type: {"schema": schema}}
            case None:
                pass
            case model:
                made["content"] = {JSON: {"schema": self._schemas.answer(model)}}
        return made

    def _event_of(self, events: Mapping[str, type[BaseModel]]) -> Node:
        """One event of a stream."""
        data = {"type": "string", "contentMediaType": JSON}
        held = {"contentSchema": {"anyOf": [self._schemas.request(model) for model in events.values()]}}
        fields = {"event": {"enum": list(events)}, "id": {"type": "string"}, "data": {**data, **held}}
        return {"type": "object", "description": "An event", "properties": fields, "required": ["event", "data"]}

    def _refused(self, operation: Operation, status: int, errors: list[Error]) -> Node:
        """By reference: its name holds what it is made of."""
        codes = sorted({kind_of_class(error).code.removeprefix("ERR_") for error in errors})
        told = told_with(operation, success=False)
        exempt = [] if operation.bucket is not Bucket.NONE else ["unlimited"]
        name = "-".join([str(status), *codes, *exempt])
        self.components.setdefault(name, self._error(errors, told))
        return {"$ref": f"#/components/responses/{name}"}

    def _error(self, errors: list[Error], told: Node) -> Node:
        kinds = list(map(kind_of_class, errors))
        narrowed = {"code": {"enum": _each(kinds, "code")}, "error": {"enum": _each(kinds, "error")}}
        schema = {**self._schemas.answer(ErrorView), "properties": narrowed}
        return {
            "description": "\n".join(map(_line, errors)),
            "headers": {**told, **_headers_of(kinds)},
            "content": {JSON: {"schema": schema}},
        }


def models_of(operations: Iterable[Operation]) -> list[type[BaseModel]]:
    """All that answers are made of."""
    found = [o.answers for o in operations if o.answers is not None and not isinstance(o.answers, Media)]
    return [ErrorView, *dict.fromkeys(found)]


def told_by(operations: Iterable[Operation]) -> list[type[BaseModel]]:
    """What streams and WebSockets hold. Fields of theirs may be absent."""
    found = [model for operation in operations for model in operation.messages]
    for operation in operations:
        found += operation.answers.events.values() if isinstance(operation.answers, Media) else ()
    return list(dict.fromkeys(found))


def _headers_of(kinds: list[ErrorKind]) -> Node:
    """A header that only some of them have may be missing."""
    told: Node = {}
    for name, value in {name: value for kind in kinds for name, value in kind.headers.items()}.items():
        always = all(name in kind.headers for kind in kinds)
        known = TOLD.get(name, {"schema": {"type": "string", "examples": [value]}})
        told |= headers(name) if always and name in TOLD else {name: {**known, "required": always}}
    return told


def _each(kinds: list[ErrorKind], name: str) -> list[str]:
    return list(dict.fromkeys(getattr(kind, name) for kind in kinds))


def _line(error: Error) -> str:
    kind = kind_of_class(error)
    meaning = "Something went wrong that should not have" if error is DomainError else error.__doc__
    return f"- `{kind.code}` {kind.error}: {meaning}"


def _meaning(status: int) -> str:
    return "As asked" if status < 300 else "Not now; the body tells why"


def _schema_of(content_type: str) -> Node:
    if content_type.startswith(JSON):
        return {"type": "object"}
    return {"type": "string"} if content_type.startswith("text/") else {"type": "string", "format": "binary"}
