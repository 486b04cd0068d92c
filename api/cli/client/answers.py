"""What the service answers when it does not do what it was asked for (contract http.md 1.7, cli.md 3: errors)."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from api.cli.client.output import plain
from api.cli.ending import CommandFailed

if TYPE_CHECKING:
    import aiohttp

_NO_TOKEN = "no token is set: --token, APP_MANAGER_API_TOKEN, or `app-manager config set token ...`"  # noqa: S105  text


class ApiError(CommandFailed):
    """An answer of the service with a status of 400 or more. `code`: that of its table of errors, `ERR_...`."""

    def __init__(self, message: str, *lines: str, status: int, code: str | None = None) -> None:
        super().__init__(message, *lines)
        self.status = status
        self.code = code

    def renamed(self, message: str, *more: str) -> "ApiError":
        """The same under another first line; its own goes below if it says more."""
        own = () if str(self) == message else (f"message: {self}",)
        return ApiError(message, *own, *self.lines, *more, status=self.status, code=self.code)


def error_of(url: str, response: "aiohttp.ClientResponse", content: bytes, *, has_token: bool) -> CommandFailed:
    """The error that an answer tells. `has_token`: whether one was sent."""
    status = response.status
    if status < 400:
        where = plain(response.headers.get("Location", "elsewhere"))
        return CommandFailed(f"{url} answered {status} and points to {where}: is it the right address?")
    lines = [] if has_token or status != 401 else [f"hint: {_NO_TOKEN}"]
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict) or not isinstance(body.get("message"), str):
        return ApiError(f"{url} answered {status} {_phrase(status)}".rstrip(), *lines, status=status)
    return ApiError(plain(body["message"]), *_fields(body), *lines, status=status, code=str(body.get("code")))


def _fields(body: dict[str, Any]) -> Iterator[str]:
    """One line for each but the message; of the details one for each."""
    for name, value in body.items():
        if name == "details" and isinstance(value, list):
            for detail in value:
                yield f"details: {_detail(detail)}"
        elif name != "message" and value is not None:
            yield f"{plain(name)}: {plain(value)}"


def _detail(detail: Any) -> str:
    if not isinstance(detail, dict):
        return plain(detail)
    where = f"{plain(detail['field'])}: " if detail.get("field") else ""
    return f"{where}{plain(detail.get('message'))} ({plain(detail.get('code'))})"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
