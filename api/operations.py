"""What a handler declares about itself, beside itself and once: the source of routing, validation, answers and OpenAPI.

A handler takes the request and, if it declares a query or a form, that one parsed. It gives an Answer, or a response of
its own for what is not JSON. `reads` says that it answers from a read model: then a position that the request names
is checked before, and stands in `request[AT_LEAST]`; `writes`, that it appends to the log. The answer of either tells a
position (contract http.md 1.6).
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, partial
from typing import Any, Generic, TypedDict, TypeVar, Unpack, overload

from aiohttp import hdrs, web
from pydantic import BaseModel

from api.errors import NO_HEADERS, json_response
from api.forms import Form
from api.idempotency import answered_once
from api.keys import AT_LEAST, FORMS
from api.parameters import Query, parse_query
from api.positions import POSITION_HEADER, read_position
from domain.errors import DomainError
from infra import metrics

VARIABLE = re.compile(r"\{(\w+)\}")

V = TypeVar("V", bound=BaseModel)
Q = TypeVar("Q", bound=Query)
F = TypeVar("F", bound=Form)


class Bucket(StrEnum):
    """Rate limits that a call counts against (contract http.md 1.4)."""

    NONE = "none"
    REQUESTS = "requests"
    APPLICATIONS = "applications"  # and the other one


@dataclass(frozen=True, slots=True)
class Media:
    """An answer that is not JSON of ours, by its content type; `file`: it comes with a name to be saved under.

    `events`: what the events of an event stream hold, by their names.
    """

    content_type: str
    file: bool = False
    events: Mapping[str, type[BaseModel]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer(Generic[V]):
    """`position`: what a write got, or what a read reflects at least."""

    view: V
    position: int | None = None
    status: int = 200


Handled = Awaitable[Answer[V] | web.StreamResponse]
Plain = Callable[[web.Request], Handled[V]]
WithQuery = Callable[[web.Request, Q], Handled[V]]
WithForm = Callable[[web.Request, F], Handled[V]]


@dataclass(frozen=True)
class Operation:
    """`public`: needs no token. `errors`: its own, besides those that any call can have.

    `statuses` are those of `answers`; `bodiless` are others that it may answer with and no body, and when. `messages`
    are those that it sends over a WebSocket.
    `token_in_query`: takes the token as `?token=` too, as browsers send no header with a stream. `below`: it also
    answers for the names below its path, with `match_info["below"]`. `admits` raises for a caller who may not: before
    his query is read, and before a stored answer is given again.
    """

    method: str
    path: str
    handler: Callable[..., Handled[Any]]
    answers: type[BaseModel] | Media | None = None
    query: type[Query] | None = None
    form: type[Form] | None = None
    errors: tuple[type[DomainError], ...] = ()
    bucket: Bucket = Bucket.REQUESTS
    public: bool = False
    reads: bool = False
    writes: bool = False
    statuses: tuple[int, ...] = (200,)
    bodiless: Mapping[int, str] = field(default_factory=dict)
    below: bool = False
    tag: str = ""
    token_in_query: bool = False
    messages: tuple[type[BaseModel], ...] = ()
    admits: Callable[[web.Request], None] | None = None

    @cached_property
    def endpoint(self) -> str:
        """Its name in metrics (contract metrics.md 1)."""
        return VARIABLE.sub("{id}", self.path)

    async def respond(self, request: web.Request) -> web.StreamResponse:
        if self.admits is not None:
            self.admits(request)
        if self.form is not None:
            async with request.app[FORMS].read(request, self.form) as form:
                return await self._answer(request, form)
        request.app[FORMS].refuse_beyond_limit(request)
        return await self._answer(request, None if self.query is None else parse_query(self.query, request.query))

    async def _answer(self, request: web.Request, asked: Form | Query | None) -> web.StreamResponse:
        if self.reads:
            request[AT_LEAST] = await read_position(request)
        if self.method != hdrs.METH_POST:
            return await self._handle(request, asked)
        return await answered_once(request, asked, partial(self._handle, request, asked), self._count_replay)

    async def _handle(self, request: web.Request, asked: Form | Query | None) -> web.StreamResponse:
        answer = await (self.handler(request) if asked is None else self.handler(request, asked))
        if not isinstance(answer, Answer):
            return answer
        told = NO_HEADERS if answer.position is None else {POSITION_HEADER: str(answer.position)}
        return json_response(answer.view, answer.status, told)

    def _count_replay(self) -> None:
        metrics.IDEMPOTENCY_REPLAYS_TOTAL.inc(endpoint=self.endpoint)


class Options(TypedDict, total=False):
    errors: tuple[type[DomainError], ...]
    bucket: Bucket
    public: bool
    reads: bool
    writes: bool
    statuses: tuple[int, ...]
    bodiless: Mapping[int, str]
    token_in_query: bool
    messages: tuple[type[BaseModel], ...]
    below: bool
    admits: Callable[[web.Request], None]


@dataclass(frozen=True, slots=True)
class Operations:
    """The operations of one resource. Those of one `tag` stand together in the OpenAPI document."""

    tag: str = ""
    declared: list[Operation] = field(default_factory=list)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.declared)

    @overload
    def get(
        self, path: str, *, answers: type[V] | Media | None, query: type[Q], **options: Unpack[Options]
    ) -> Callable[[WithQuery[Q, V]], WithQuery[Q, V]]: ...

    @overload
    def get(
        self, path: str, *, answers: type[V] | Media | None, **options: Unpack[Options]
    ) -> Callable[[Plain[V]], Plain[V]]: ...

    def get(
        self,
        path: str,
        *,
        answers: type[BaseModel] | Media | None,
        query: type[Query] | None = None,
        **options: Unpack[Options],
    ) -> Callable[[Any], Any]:
        return self._declare("GET", path, answers, query=query, **options)

    @overload
    def post(
        self, path: str, *, answers: type[V], form: type[F], **options: Unpack[Options]
    ) -> Callable[[WithForm[F, V]], WithForm[F, V]]: ...

    @overload
    def post(
        self, path: str, *, answers: type[V], query: type[Q], **options: Unpack[Options]
    ) -> Callable[[WithQuery[Q, V]], WithQuery[Q, V]]: ...

    @overload
    def post(self, path: str, *, answers: type[V], **options: Unpack[Options]) -> Callable[[Plain[V]], Plain[V]]: ...

    def post(
        self,
        path: str,
        *,
        answers: type[BaseModel],
        form: type[Form] | None = None,
        query: type[Query] | None = None,
        **options: Unpack[Options],
    ) -> Callable[[Any], Any]:
        return self._declare("POST", path, answers, form=form, query=query, **options)

    def delete(self, path: str, *, answers: type[V], **options: Unpack[Options]) -> Callable[[Plain[V]], Plain[V]]:
        return self._declare("DELETE", path, answers, **options)

    def _declare(
        self, method: str, path: str, answers: type[BaseModel] | Media | None, **options: Any
    ) -> Callable[[Any], Any]:
        def declare(handler: Callable[..., Handled[Any]]) -> Callable[..., Handled[Any]]:
            self.declared.append(Operation(method, path, handler, answers, tag=self.tag, **options))
            return handler

        return declare
