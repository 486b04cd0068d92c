"""The service over HTTP, for a command that waits for its answer (contract http.md 1).

The event loop runs only while an answer, or the next part of one, is due: all else of a command is plain code, which
Ctrl-C ends wherever it is. Nothing is sent twice. Redirections are not followed: a token goes where it was meant to go.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from yarl import URL

from api.cli.client.answers import error_of
from api.cli.client.keys import API_TIMEOUT
from api.cli.client.settings import Settings
from api.cli.client.signals import Signals
from api.cli.ending import CommandFailed

_ANSWER_BYTES = 64 * 1024 * 1024
_BUFFER_BYTES = 256 * 1024

T = TypeVar("T")
Query = Mapping[str, str | int | None]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer with a status below 400, or one that the caller said it wants to see."""

    status: int
    content: bytes
    content_type: str

    @property
    def json(self) -> Any:
        """Raises CommandFailed."""
        try:
            return orjson.loads(self.content)
        except orjson.JSONDecodeError:
            raise CommandFailed("the service answered something that is no JSON: is it the right address?") from None


class Download:
    """A body that comes in parts."""

    def __init__(self, api: "Api", response: aiohttp.ClientResponse) -> None:
        self._api = api
        self._response = response
        self.length = response.content_length  # None where it is not known before

    def chunks(self) -> Iterator[bytes]:
        """Raises CommandFailed when it ends before it is complete."""
        while chunk := self._api.run(self._response.content.readany):
            yield chunk


class Api:
    """One connection to the service, for the time of a `with`."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.api_url
        self._token = settings.api_token
        self._timeout = settings.api_timeout
        self._runner = asyncio.Runner()
        self._signals = Signals()
        self._opened = ExitStack()
        self._session: aiohttp.ClientSession | None = None

    def __enter__(self) -> Self:
        self._opened.enter_context(self._signals.heard())
        self._opened.enter_context(self._runner)
        return self

    def __exit__(self, *error: object) -> None:
        with self._opened:
            if self._session is not None:
                self._runner.run(self._session.close())

    def get(self, path: str, query: Query | None = None, *, also: int | None = None) -> Answer:
        """`also`: a status of 400 or more that is an answer, too. Raises CommandFailed, ApiError."""
        return self.run(partial(self._ask, "GET", path, query, also))

    def change(self, method: str, path: str, query: Query | None = None) -> Answer:
        """Raises CommandFailed, ApiError."""
        try:
            return self.run(partial(self._ask, method, path, query, None))
        except _Silent as error:
            raise CommandFailed(f"{error}; it may have been done all the same") from None

    @contextmanager
    def download(self, path: str, query: Query, content_type: str) -> Iterator[Download]:
        """The time limit is for each part, not for the whole. Raises CommandFailed, ApiError."""
        limit = aiohttp.ClientTimeout(total=None, connect=self._timeout, sock_read=self._timeout)
        response = self.run(partial(self._open, "GET", path, query, limit))
        try:
            if response.status >= 300:
                raise error_of(
                    self._url, response, self.run(partial(_whole, response)), has_token=self._token is not None
                )
            if response.content_type != content_type:
                raise CommandFailed(f"{self._url} answered something that is no export: is it the right address?")
            yield Download(self, response)
        finally:
            response.close()

    def run(self, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Waits for a step. Raises CommandFailed for whatever a network can do."""
        try:
            return self._signals.run(self._runner, step)
        except TimeoutError:
            told = f"no answer from {self._url} within {self._timeout:g} s ({API_TIMEOUT.variable})"
            raise _Silent(told) from None
        except aiohttp.ClientConnectorError as error:
            raise CommandFailed(f"cannot connect to {self._url}: {_reason(error.os_error)}") from None
        except (aiohttp.ServerConnectionError, aiohttp.ClientOSError, aiohttp.ClientPayloadError):
            raise _Silent(f"{self._url} broke the connection off before its answer was complete") from None
        except aiohttp.ClientError as error:
            raise CommandFailed(f"{self._url} does not answer as a web server does ({type(error).__name__})") from None

    async def _ask(self, method: str, path: str, query: Query | None, also: int | None) -> Answer:
        response = await self._open(method, path, query, aiohttp.ClientTimeout(total=self._timeout))
        async with response:
            content = await _whole(response)
            if response.status >= 300 and response.status != also:
                raise error_of(self._url, response, content, has_token=self._token is not None)
            return Answer(response.status, content, response.content_type)

    async def _open(
        self, method: str, path: str, query: Query | None, limit: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            headers = {"User-Agent": "app-manager"}
            if self._token is not None:
                headers["Authorization"] = f"Bearer {self._token}"
            self._session = aiohttp.ClientSession(headers=headers, read_bufsize=_BUFFER_BYTES)
        sent = {name: value for name, value in (query or {}).items() if value is not None}
        text = urlencode(sent, errors="surrogateescape")
        url = URL(f"{self._url}{path}{'?' if text else ''}{text}", encoded=True)
        return await self._session.request(method, url, timeout=limit, allow_redirects=False)


class _Silent(CommandFailed):
    """It was asked, and nobody knows what became of it."""


def in_path(id: str) -> str:
    """An id as a part of a path, whatever it holds."""
    return quote(id, safe="", errors="surrogateescape")


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > _ANSWER_BYTES:
            raise CommandFailed(f"the answer is longer than {_ANSWER_BYTES >> 20} MiB: is it the right address?")
    return bytes(content)


def _reason(error: OSError) -> str:
    """In words; `strerror` of several addresses that were tried is a list of their errors."""
    if isinstance(error, ssl.SSLError):  # its numbers are none of the system's
        return getattr(error, "verify_message", "") or error.reason or str(error)
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)
