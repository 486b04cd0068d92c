"""Forms: from a body that comes in piece by piece to the declared fields, and nothing else (contract http.md 1.1, 2).

Each limit holds while reading: never is more kept than the limit of a field, or read than the limit of the body; and
all forms of the process together hold ROOM_BYTES at most, so that many uploads at once are refused before they fill the
memory. What nobody declared is read past. A field that is sent twice is refused, as nobody could say which was meant.
Urlencoded forms hold texts only, in UTF-8.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import TypeVar, get_args
from urllib.parse import unquote_to_bytes

from aiohttp import hdrs, web
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from pydantic import BaseModel, ConfigDict, ValidationError

from api.admission import waiting_for_caller
from api.errors import PayloadTooLarge, Problem, UnsupportedMediaType, ValidationFailed, problems_of
from api.form_fields import JSON_MAX_BYTES, Incoming, IncomingPdf, IncomingText, MaxBytes, Pdf
from domain.errors import Overloaded

MULTIPART, URLENCODED = "multipart/form-data", "application/x-www-form-urlencoded"
BODY_SECONDS = 300.0  # for a whole body, also over a slow line
PARTS_MAX = 200
ESCAPED_MAX_BYTES = 3 * (JSON_MAX_BYTES + 1)  # whatever is longer is over every limit, also unescaped
LARGE_BYTES = 256 * 1024  # to decode more would hold up the event loop
ROOM_BYTES = 256 * 1024 * 1024


class Form(BaseModel):
    """The form of an operation; its fields are of the types in `api.form_fields`."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)


F = TypeVar("F", bound=Form)


class FormReader:
    """Reads the forms of a process. Limits are in bytes: of a whole body, of a CV, and of all that is held at once."""

    def __init__(self, body: int, cv: int, room: int = ROOM_BYTES) -> None:
        self.body, self.cv = body, cv
        self._room = room

    @asynccontextmanager
    async def read(self, request: web.Request, model: type[F]) -> AsyncIterator[F]:
        """Raises a RequestError for what cannot be accepted, and Overloaded; then the rest is not looked at.

        What the form holds is counted until it is left.
        """
        reading = _Reading(self, model)
        try:
            await _read_fields(request, reading)
            yield _checked(model, reading.values)
        finally:
            self._room += reading.held

    def refuse_beyond_limit(self, request: web.Request) -> None:
        """A body of a call that reads none. Raises PayloadTooLarge (contract http.md 1.1)."""
        _check_length(request, self.body)

    def hold(self, size: int) -> None:
        if size > self._room:
            raise Overloaded("Too many forms are being read")
        self._room -= size


class _Reading:
    """The declared fields of one form, as far as they have come in."""

    def __init__(self, reader: FormReader, model: type[Form]) -> None:
        self._reader, self._kinds = reader, _kinds(model)
        self._open: Incoming | None = None
        self._name = ""
        self.values: dict[str, bytes | Pdf] = {}
        self.held = 0
        self.limit = reader.body

    def begin(
        self, name: str, charset: str | None = None, content_type: str | None = None, filename: str | None = None
    ) -> None:
        kind = self._kinds.get(name)
        self._name = name
        if kind is None:
            self._open = None
        elif isinstance(kind, MaxBytes):
            self._open = IncomingText(name, kind, charset)
        else:
            self._open = IncomingPdf(name, self._reader.cv, content_type, filename)

    @property
    def wanted(self) -> bool:
        """Whether the field that has begun is a declared one."""
        return self._open is not None

    def hold(self, chunk: bytes) -> None:
        """Before it is kept. Not in a thread: the reader counts for all."""
        self._reader.hold(len(chunk))
        self.held += len(chunk)

    def take(self, chunk: bytes) -> None:
        if self._open is not None:
            self._open.take(chunk)

    def end(self) -> None:
        value = self._open.value() if self._open is not None else None
        if value is None:
            return
        if self._name in self.values:
            text = f"Field {self._name} was sent more than once"
            raise ValidationFailed(text, [Problem(text, self._name)])
        self.values[self._name] = value


@cache
def _kinds(model: type[Form]) -> Mapping[str, MaxBytes | type[Pdf]]:
    kinds: dict[str, MaxBytes | type[Pdf]] = {}
    for name, declared in model.model_fields.items():
        limits = [mark for mark in declared.metadata if isinstance(mark, MaxBytes)]
        is_pdf = Pdf in {declared.annotation, *get_args(declared.annotation)}
        kinds[name] = Pdf if is_pdf else limits[0] if limits else MaxBytes()
    return kinds


def _checked(model: type[F], values: Mapping[str, bytes | Pdf]) -> F:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = problems_of(error)
        names = ", ".join(dict.fromkeys(problem.field for problem in problems if problem.field))
        raise ValidationFailed(f"Bad form: {names}", problems) from None


# -- the two ways to write a form -------------------------------------------------------------------------------------


async def _read_fields(request: web.Request, reading: _Reading) -> None:
    content_type, options = parse_options_header(request.headers.get(hdrs.CONTENT_TYPE, ""))
    if content_type == MULTIPART:
        await _read_multipart(request, options.get("boundary", ""), reading)
    elif content_type == URLENCODED:
        await _read_urlencoded(request, reading)
    else:
        raise UnsupportedMediaType(f"Send {MULTIPART}, or {URLENCODED} without a file")


async def _read_multipart(request: web.Request, boundary: str, reading: _Reading) -> None:
    try:
        with PushMultipartParser(boundary, max_segment_count=PARTS_MAX) as parser:
            await _read_body(request, reading.limit, partial(_take_multipart, parser, reading))
    except (MultipartError, UnicodeError) as error:
        raise ValidationFailed(f"The form cannot be read: {error}") from None


def _take_multipart(parser: PushMultipartParser, reading: _Reading, chunk: bytes) -> None:
    if parser.closed or not chunk:
        return  # what follows the end does not matter
    for event in parser.parse(chunk):
        if isinstance(event, MultipartSegment):
            reading.begin(event.name or "", event.charset, event.content_type, event.filename)
        elif event is None:
            reading.end()
        elif reading.wanted:
            reading.hold(event)
            reading.take(event)


async def _read_urlencoded(request: web.Request, reading: _Reading) -> None:
    chunks: list[bytes] = []

    def take(chunk: bytes) -> None:
        reading.hold(chunk)
        chunks.append(chunk)

    await _read_body(request, reading.limit, take)
    body = b"".join(chunks)
    if len(body) > LARGE_BYTES:
        await asyncio.to_thread(_take_urlencoded, reading, body)
    else:
        _take_urlencoded(reading, body)


def _take_urlencoded(reading: _Reading, body: bytes) -> None:
    pairs = body.split(b"&", PARTS_MAX)
    if len(pairs) > PARTS_MAX:
        raise ValidationFailed("The form has too many fields")
    for pair in pairs:
        name, _, value = pair.partition(b"=")
        reading.begin(_unquoted(name).decode(errors="replace"), content_type="text/plain")
        if value and reading.wanted:
            reading.take(_unquoted(value[:ESCAPED_MAX_BYTES]))
        reading.end()


def _unquoted(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))


# -- the body ---------------------------------------------------------------------------------------------------------


async def _read_body(request: web.Request, limit: int, take: Callable[[bytes], None]) -> None:
    """Every piece of the body, in order. A caller that waits to be told goes on only now: he may come in."""
    _check_length(request, limit)
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun
    size = 0

    def accept(chunk: bytes) -> None:
        nonlocal size
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        take(chunk)

    try:
        if request.content.is_eof():  # it is all here: most bodies are
            accept(request.content.read_nowait())
            return
        with waiting_for_caller(request):
            async with asyncio.timeout(BODY_SECONDS):
                while chunk := await request.content.readany():
                    accept(chunk)
    except web.RequestPayloadError:
        raise ValidationFailed("The body cannot be read") from None
    except TimeoutError:
        raise ValidationFailed("The body did not arrive in time") from None


def _check_length(request: web.Request, limit: int) -> None:
    if (request.content_length or 0) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is over {limit} bytes")
