"""The HTTP adapter: posts a submission to one URL and reads the answer (contract portals.md 2).

What it must tell apart is *not taken* and *unknown*: a request of which no byte has left was surely not processed, any
other may have been. aiohttp tells when the headers are about to leave (`on_request_headers_sent`, before the first
write to a connection, fresh or kept); whatever goes wrong from there on is unknown. aiohttp never sends a POST again by
itself. An answer that breaks off is none.

Idle connections are kept for at-least-once portals alone. A server may close an idle connection at the very moment of a
new request, and the outcome of that is unknown: with keys it costs one more attempt, without them the job.
"""

import asyncio
import hashlib
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import aiohttp
import orjson
from pydantic import ConfigDict, HttpUrl, ValidationError

from consumers.portals import Applied, CvFile, NotTaken, Outcome, Refused, Submission, Unknown
from consumers.portals.entry import PortalEntry, one_line
from domain.application_events import Delivery

CONNECT_SECONDS = 10.0  # at most, of the portal's time limit
ANSWER_BYTES = 64 * 1024
REASON_CHARACTERS = 300
LONGEST_RETRY_AFTER = 24 * 3600.0  # seconds

NOT_TAKEN_STATUSES = frozenset({408, 425, 429, 503})


class HttpEntry(PortalEntry):
    model_config = ConfigDict(extra="forbid")

    url: HttpUrl


@dataclass(frozen=True, slots=True)
class Answer:
    """What a portal answered: at most ANSWER_BYTES of its body."""

    status: int
    phrase: str
    retry_after: str | None
    body: bytes

    @property
    def status_line(self) -> str:
        return f"{self.status} {self.phrase}".strip()

    def text(self, field: str) -> str | None:
        """A text of the JSON object that the body may be."""
        try:
            content = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None
        value = content.get(field) if isinstance(content, dict) else None
        return value if isinstance(value, str) else None


class HttpPortal:
    """An Adapter: one session, and so one pool of connections, per portal."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        try:
            self._entry = HttpEntry.model_validate(entry)
        except ValidationError as error:
            raise ValueError(one_line(error)) from None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_headers_leave)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._entry.concurrency, force_close=self._entry.delivery is Delivery.AT_MOST_ONCE
            ),
            cookie_jar=aiohttp.DummyCookieJar(),  # a portal's cookies must not pass from one user to another
            timeout=aiohttp.ClientTimeout(
                total=None, connect=min(CONNECT_SECONDS, self._entry.timeout), ceil_threshold=float("inf")
            ),
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            auto_decompress=False,
            trace_configs=[trace],
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def submit(self, submission: Submission) -> Outcome:
        end = asyncio.get_running_loop().time() + self._entry.timeout
        try:
            async with asyncio.timeout_at(end):
                body, headers = await _request(submission)
        except TimeoutError as error:
            return NotTaken("the CV could not be read in time", type(error).__name__)
        progress = SimpleNamespace(leaving=False)
        try:
            async with asyncio.timeout_at(end):
                return outcome_of(await self._post(body, headers, progress))
        except (aiohttp.ClientError, OSError) as error:
            if progress.leaving:
                return Unknown(_told(error, f"no answer within {self._entry.timeout:g} s"), type(error).__name__)
            return _no_connection(error)

    async def _post(self, body: Any, headers: dict[str, str], progress: SimpleNamespace) -> Answer:
        assert self._session is not None, "a portal is opened before it is used"
        url = str(self._entry.url)
        async with self._session.post(
            url, data=body, headers=headers, allow_redirects=False, trace_request_ctx=progress
        ) as response:
            content = await _beginning(response.content)
            return Answer(response.status, response.reason or "", response.headers.get("Retry-After"), content)


async def _headers_leave(_session: object, context: SimpleNamespace, _params: object) -> None:
    context.trace_request_ctx.leaving = True


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    while len(body) < ANSWER_BYTES and (chunk := await content.read(ANSWER_BYTES - len(body))):
        body += chunk
    return bytes(body)


# -- the request ------------------------------------------------------------------------------------------------------


async def _request(submission: Submission) -> tuple[bytes | AsyncIterator[bytes], dict[str, str]]:
    """Body and headers: the same bytes in every attempt of a round."""
    headers = {"Idempotency-Key": submission.idempotency_key}
    if submission.correlation_id:
        headers["X-Correlation-ID"] = submission.correlation_id
    if submission.traceparent:
        headers["traceparent"] = submission.traceparent
    content = orjson.dumps(
        {
            "entry_id": submission.entry_id,
            "application_id": submission.application_id,
            "job": submission.job,
            "documents": submission.documents,
        },
        default=_as_object,
    )
    if submission.cv is None:
        return content, headers | {"Content-Type": "application/json"}
    return await _form(content, submission.cv, submission.idempotency_key, headers)


def _as_object(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"not JSON: {type(value).__name__}")


async def _form(
    content: bytes, cv: CvFile, key: str, headers: dict[str, str]
) -> tuple[AsyncIterator[bytes], dict[str, str]]:
    """A form with the submission and the PDF. The boundary follows from both, so no PDF can hold its own."""
    boundary = hashlib.sha256(f"{key} {cv.sha256}".encode()).hexdigest()
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="submission"\r\nContent-Type: application/json\r\n\r\n'
    ).encode()
    middle = (
        f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="cv"; filename="cv.pdf"\r\n'
        "Content-Type: application/pdf\r\n\r\n"
    ).encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    chunks = cv.chunks()
    first = await anext(chunks, b"")  # what the store refuses is known before anything leaves

    async def body() -> AsyncIterator[bytes]:
        yield head + content + middle + first
        async for chunk in chunks:
            yield chunk
        yield tail

    length = len(head) + len(content) + len(middle) + cv.size + len(tail)
    return body(), headers | {
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Content-Length": str(length),
    }


# -- the outcome ------------------------------------------------------------------------------------------------------


def outcome_of(answer: Answer) -> Outcome:
    """The table of contract portals.md 2."""
    status = answer.status
    if 200 <= status < 300:
        return Applied(answer.text("reference"))
    if status == 409 and (reference := answer.text("reference")) is not None:
        return Applied(reference)
    if status in NOT_TAKEN_STATUSES:
        return NotTaken(_clean(answer.status_line), retry_after=_seconds(answer.retry_after))
    if 300 <= status < 400:
        return Refused(_clean(f"{answer.status_line} (redirects are not followed)"))
    if 400 <= status < 500 and status != 409:
        return Refused(_clean(answer.text("message") or answer.status_line))
    return Unknown(_clean(answer.status_line))


def _clean(text: str) -> str:
    """Short enough for a reason, and text that every store can keep."""
    return text[:REASON_CHARACTERS].encode("utf-8", "replace").decode()


def _seconds(retry_after: str | None) -> float | None:
    """`Retry-After` as seconds from now: a number or an HTTP date. None if it is neither."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after[:9]), LONGEST_RETRY_AFTER)
    try:
        left = parsedate_to_datetime(retry_after).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(left, 0.0), LONGEST_RETRY_AFTER)


def _no_connection(error: Exception) -> NotTaken:
    """Not a byte has left. A name that is not found and a TLS error are no sign that the portal is down."""
    other = isinstance(error, aiohttp.ClientConnectorDNSError | aiohttp.ClientSSLError | ssl.SSLError)
    return NotTaken(_told(error, "no connection in time"), type(error).__name__, unreachable=not other)


def _told(error: Exception, timed_out: str) -> str:
    """What happened, in words, and never the URL: its query may hold a secret."""
    if isinstance(error, TimeoutError):
        return timed_out
    text = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return _clean(text or "the connection broke")
