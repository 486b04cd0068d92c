"""What a caller is told when a request fails: a table from error class to code and status (contract http.md 1.7).

An error's own text is shown when the request was at fault. Above 499 the text is fixed, so that no exception, host
name or query ever leaves the service.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from aiohttp import hdrs, web
from pydantic import BaseModel, ValidationError

from domain import errors as domain
from domain.errors import DomainError

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
DETAILS_MAX = 100  # more problems of one request are not listed


# -- what the door itself refuses -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a request. `field` is a path such as `limit` or `jobs[0].id`."""

    message: str
    field: str | None = None


class RequestError(DomainError):
    """A request that was refused before the rules were asked."""

    def __init__(self, message: str, problems: Sequence[Problem] = (), headers: Mapping[str, str] = NO_HEADERS) -> None:
        super().__init__(message)
        self.problems, self.headers = problems, headers


class RouteNotFound(RequestError):
    """No endpoint has this path."""


class MethodNotAllowed(RequestError):
    """The path is known, with other methods."""


class PayloadTooLarge(RequestError):
    """The whole body is over its limit."""


class UnsupportedMediaType(RequestError):
    """A form endpoint was called with another content type."""


class ValidationFailed(RequestError):
    """A form field, a query value or a header cannot be used."""


class InvalidJobData(RequestError):
    """The jobs are not JSON or break the job schema."""


class InvalidResumeFormat(RequestError):
    """The CV is not a PDF."""


class ResumeTooLarge(RequestError):
    """The CV is over its limit."""


class UpgradeRequired(RequestError):
    """A WebSocket endpoint was called as if it were none."""


class TooManyStreams(RequestError):
    """The user has as many streams open as one process gives him."""


class QueueFailed(RequestError):
    """RabbitMQ refuses a command of a queue endpoint."""


class QueueUnavailable(RequestError):
    """A queue endpoint cannot reach RabbitMQ."""


class TooManyRequests(RequestError):
    """A bucket is empty. Its headers say when to come again."""


class ResumeNotStored(RequestError):
    """MongoDB refused to store the CV."""


# -- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """A row of the published table. `message` replaces the error's own text."""

    code: str
    error: str
    status: int
    message: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def _retry_after(seconds: int) -> Mapping[str, str]:
    return MappingProxyType({hdrs.RETRY_AFTER: str(seconds)})


BEARER: Mapping[str, str] = MappingProxyType({hdrs.WWW_AUTHENTICATE: "Bearer"})
WEBSOCKET: Mapping[str, str] = MappingProxyType(
    {hdrs.UPGRADE: "websocket", hdrs.CONNECTION: "Upgrade", hdrs.SEC_WEBSOCKET_VERSION: "13"}
)
INTERNAL = ErrorKind("ERR_1000", "InternalError", 500, "Something went wrong that should not have")
OVERLOADED = "The service has more work than it can accept now; nothing was stored"
NO_ANSWER = "A store did not answer in time"

KINDS: Mapping[type[DomainError], ErrorKind] = {
    DomainError: INTERNAL,
    RequestError: ErrorKind("ERR_1001", "ValidationError", 400),
    ValidationFailed: ErrorKind("ERR_1001", "ValidationError", 422),
    RouteNotFound: ErrorKind("ERR_1002", "NotFoundError", 404),
    MethodNotAllowed: ErrorKind("ERR_1005", "MethodNotAllowedError", 405),
    PayloadTooLarge: ErrorKind("ERR_1006", "PayloadTooLargeError", 413),
    UnsupportedMediaType: ErrorKind("ERR_1007", "UnsupportedMediaTypeError", 415),
    UpgradeRequired: ErrorKind("ERR_1009", "UpgradeRequiredError", 426, headers=WEBSOCKET),
    TooManyStreams: ErrorKind("ERR_7001", "RateLimitError", 429, headers=_retry_after(30)),
    InvalidJobData: ErrorKind("ERR_3002", "InvalidJobDataError", 422),
    InvalidResumeFormat: ErrorKind("ERR_4002", "InvalidResumeFormatError", 400),
    ResumeTooLarge: ErrorKind("ERR_4003", "ResumeUploadError", 413),
    ResumeNotStored: ErrorKind("ERR_4003", "ResumeUploadError", 500, "The CV could not be stored"),
    QueueFailed: ErrorKind("ERR_6001", "QueueOperationError", 500, "RabbitMQ refused a command"),
    QueueUnavailable: ErrorKind(
        "ERR_6002", "QueueConnectionError", 503, "RabbitMQ cannot be reached now", _retry_after(5)
    ),
    TooManyRequests: ErrorKind("ERR_7001", "RateLimitError", 429),
    domain.ApplicationNotFound: ErrorKind("ERR_2001", "ApplicationNotFoundError", 404),
    domain.ApplicationState: ErrorKind("ERR_2002", "ApplicationStateError", 409),
    domain.ApplicationAlreadyProcessed: ErrorKind("ERR_2003", "ApplicationAlreadyProcessedError", 409),
    domain.BatchNotFound: ErrorKind("ERR_1002", "NotFoundError", 404),
    domain.JobNotFound: ErrorKind("ERR_3001", "JobNotFoundError", 404),
    domain.AttemptRefused: INTERNAL,  # only workers make attempts
    domain.ClaimedElsewhere: INTERNAL,  # only workers claim
    domain.IdempotencyKeyReused: ErrorKind("ERR_9001", "DuplicateRequestError", 409),
    domain.DuplicateRequest: ErrorKind("ERR_9001", "DuplicateRequestError", 409, headers=_retry_after(1)),
    domain.AuthenticationRequired: ErrorKind("ERR_8001", "AuthenticationError", 401, headers=BEARER),
    domain.InvalidToken: ErrorKind("ERR_8001", "InvalidTokenError", 401, headers=BEARER),
    domain.TokenExpired: ErrorKind("ERR_8002", "TokenExpiredError", 401, headers=BEARER),
    domain.IssuerUnavailable: ErrorKind(  # not a bad token: it may be tried again
        "ERR_1008",
        "OverloadedError",
        503,
        "Tokens cannot be checked now, as their issuer cannot be asked for its keys; nothing was stored",
        _retry_after(5),
    ),
    domain.InsufficientPermissions: ErrorKind("ERR_8003", "InsufficientPermissionsError", 403),
    domain.StoreError: ErrorKind("ERR_5001", "DatabaseOperationError", 500, "A store refused a command"),
    domain.StoreFailed: ErrorKind("ERR_5001", "DatabaseOperationError", 500, "A store refused a command"),
    domain.StoreUnavailable: ErrorKind(
        "ERR_5002", "DatabaseConnectionError", 503, "A store cannot be reached now", _retry_after(5)
    ),
    domain.StoreTimeout: ErrorKind("ERR_5003", "DatabaseTimeoutError", 503, NO_ANSWER, _retry_after(5)),
    domain.OutcomeUnknown: ErrorKind(
        "ERR_5003",
        "DatabaseTimeoutError",
        503,
        f"{NO_ANSWER}: what was asked may have been done",
        _retry_after(5),
    ),
    domain.Overloaded: ErrorKind("ERR_1008", "OverloadedError", 503, OVERLOADED, _retry_after(1)),
    domain.Conflict: ErrorKind("ERR_1008", "OverloadedError", 503, OVERLOADED, _retry_after(1)),
    domain.NewerEvent: ErrorKind(
        "ERR_1008", "OverloadedError", 503, "A newer release of the service must answer this", _retry_after(5)
    ),
    domain.ReadModelBehind: ErrorKind(
        "ERR_5004",
        "ReadModelBehindError",
        503,
        "The read model has not reached the asked position yet",
        _retry_after(1),
    ),
}


def kind_of(error: BaseException) -> ErrorKind:
    return kind_of_class(type(error))


def kind_of_class(error: type[BaseException]) -> ErrorKind:
    """Its row, or that of the nearest class above it."""
    return next((KINDS[cls] for cls in error.__mro__ if cls in KINDS), INTERNAL)


# What only submissions answer with, besides what any call can.
SUBMISSION_ERRORS = (
    *(ValidationFailed, PayloadTooLarge, UnsupportedMediaType, InvalidJobData),
    *(InvalidResumeFormat, ResumeTooLarge, ResumeNotStored),
    *(domain.IdempotencyKeyReused, domain.DuplicateRequest),
)


# -- the answer -------------------------------------------------------------------------------------------------------


class DetailView(BaseModel):
    """One thing that is wrong with the request."""

    code: str
    message: str
    field: str | None


class ErrorView(BaseModel):
    """Every error has this shape."""

    error: str
    code: str
    message: str
    correlation_id: str
    timestamp: datetime
    details: list[DetailView] | None


def error_response(error: BaseException, correlation_id: str, at: datetime) -> web.Response:
    kind = kind_of(error)
    request_error = error if isinstance(error, RequestError) and kind.status < 500 else None
    problems = request_error.problems[:DETAILS_MAX] if request_error else ()
    view = ErrorView(
        error=kind.error,
        code=kind.code,
        message=kind.message or _encodable(str(error)),
        correlation_id=correlation_id,
        timestamp=at,
        details=[DetailView(code=kind.code, message=p.message, field=p.field) for p in problems] or None,
    )
    headers = {**kind.headers, **(request_error.headers if request_error else NO_HEADERS)}
    return json_response(view, kind.status, headers)


def _encodable(text: str) -> str:
    """An id from the path may hold what no UTF-8 can."""
    return text.encode(errors="replace").decode()


def json_response(view: BaseModel, status: int = 200, headers: Mapping[str, str] = NO_HEADERS) -> web.Response:
    return web.Response(
        body=view.model_dump_json().encode(),
        status=status,
        headers={hdrs.CONTENT_TYPE: "application/json", **headers},
    )


# -- from pydantic ----------------------------------------------------------------------------------------------------


def problems_of(error: ValidationError, *before: str | int) -> list[Problem]:
    """What pydantic found, without what was sent. `before` is the path to the object that was checked."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [Problem(one["msg"].removeprefix("Value error, "), field_path((*before, *one["loc"]))) for one in found]


def field_path(path: Sequence[str | int]) -> str | None:
    """`("jobs", 0, "id")` is `jobs[0].id`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or None
