"""The demo's client of the API: submissions, reads, and status changes by server-sent events (contract http.md 13)."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
import orjson

from api.cli.ending import CommandFailed
from api.cli.samples import Sample
from api.cli.server_events import EventReader, ServerEvent

ANSWER_SECONDS = 10.0
_READ_TRIES = 5
_SILENCE_SECONDS = 30.0  # twice the time in which a stream says at least that it lives
_AGAIN_SECONDS = 1.0  # until a stream that has ended is opened anew
_AWAY, _MANY = 503, 429


@dataclass(frozen=True, slots=True)
class Submitted:
    """What the API has taken."""

    application_id: str
    position: str  # of its event in the log


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """An application's status has changed."""

    application_id: str
    status: str
    error_reason: str | None
    position: str  # of the event in the log: a read that has reached it shows the change

    @classmethod
    def of(cls, event: ServerEvent) -> Self:
        data = orjson.loads(event.data)
        position, _, _ = event.last_id.partition(".")
        return cls(data["application_id"], data["status"], data.get("error_reason"), position)


class _Busy(CommandFailed):
    """The API asks to come back."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds


class DemoClient:
    """Calls of the API for several users. Raises CommandFailed for an answer that is no 200."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token_of: Callable[[str], str]) -> None:
        self._session = session
        self._url = url
        self._token_of = token_of

    async def submit(self, sample: Sample) -> Submitted:
        form = aiohttp.FormData()
        form.add_field("jobs", orjson.dumps({"jobs": sample.jobs}).decode())
        if sample.style is not None:
            form.add_field("style", sample.style)
        if sample.cv is not None:
            form.add_field("cv", sample.cv, filename=f"{sample.user}.pdf", content_type="application/pdf")
        body, position = await self._call(sample.user, "POST", "/applications", data=form)
        return Submitted(body["application_id"], position)

    async def read(self, user: str, path: str, position: str) -> dict[str, Any]:
        """The body, not older than that position."""
        for _ in range(_READ_TRIES):
            try:
                return await self._read(user, path, position)
            except _Busy as busy:
                await asyncio.sleep(busy.retry_after)
        return await self._read(user, path, position)

    async def updates(
        self, user: str, application_ids: Collection[str], after: str
    ) -> AsyncGenerator[StatusUpdate, None]:
        """All after that position, in order, each once. It has no end: a stream that ends or breaks is opened anew.

        A stream is asked to go on after the last update that came, so none is missing, whenever it is opened.
        """
        while True:
            pause = _AGAIN_SECONDS
            try:
                async with self._stream(user, application_ids, after) as answer:
                    reader = EventReader()
                    async for chunk in answer.content.iter_any():
                        for event in reader.feed(chunk):
                            after = event.last_id or after
                            if event.name == "status_update":
                                yield StatusUpdate.of(event)
            except _Busy as busy:
                pause = busy.retry_after
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def _stream(
        self, user: str, application_ids: Collection[str], after: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """It may last, but not be silent. Too many of a user may be one of ours that is not known to be gone yet."""
        query = [("application_id", application_id) for application_id in application_ids]
        headers = {"Last-Event-ID": after}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_SECONDS, sock_read=_SILENCE_SECONDS)
        asked = self._asked(user, "GET", "/stream/status", headers, {_AWAY, _MANY}, params=query, timeout=timeout)
        async with asked as answer:
            yield answer

    async def _read(self, user: str, path: str, position: str) -> dict[str, Any]:
        body, _ = await self._call(user, "GET", path, {"X-Event-Position": position})
        return body

    async def _call(
        self, user: str, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> tuple[dict[str, Any], str]:
        """The body, and the position that it reflects."""
        try:
            async with self._asked(user, method, path, headers or {}, {_AWAY}, **more) as answer:
                return orjson.loads(await answer.read()), answer.headers["X-Event-Position"]
        except (aiohttp.ClientError, TimeoutError) as error:
            raise CommandFailed(f"{method} {path}: no answer ({type(error).__name__})") from error

    @asynccontextmanager
    async def _asked(
        self, user: str, method: str, path: str, headers: Mapping[str, str], busy: Collection[int], **more: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer with status 200. Raises _Busy for one in `busy`, CommandFailed for any other."""
        headers = {"Authorization": f"Bearer {self._token_of(user)}", **headers}
        async with self._session.request(method, self._url + path, headers=headers, **more) as answer:
            if answer.status != 200:
                told = f"{method} {path}: {answer.status} {(await answer.text(errors='replace'))[:300]}"
                if answer.status in busy:
                    raise _Busy(told, float(answer.headers.get("Retry-After", "1")))
                raise CommandFailed(told)
            yield answer
