"""Forms: from a body that comes in piece by piece to the declared fields, and nothing else (contract http.md 1.1, 2).

Each limit holds while reading: never is more kept than the limit of a field, or read than the limit of the body. What
nobody declared is read past. A field that is empty counts as not sent; one that is sent twice is refused, as nobody
could say which was meant. In `multipart/form-data` a text field may name its charset, else it is UTF-8; urlencoded
forms hold texts only, in UTF-8.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Annotated, Protocol, TypeVar, get_args
from urllib.parse import unquote_to_bytes

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from api.errors import (
    InvalidJobData,
    InvalidResumeFormat,
    PayloadTooLarge,
    Problem,
    RequestError,
    ResumeTooLarge,
    UnsupportedMediaType,
    ValidationFailed,
    problems_of,
)

MULTIPART, URLENCODED = "multipart/form-data", "application/x-www-form-urlencoded"
BODY_SECONDS = 300.0  # for a whole body, also over a slow line
PARTS_MAX = 200
TEXT_MAX_BYTES = 64 * 1024
JSON_MAX_BYTES = 4 * 1024 * 1024  # contract http.md 1.8
PDF_MARK, PDF_MARK_WITHIN = b"%PDF-", 1024
ESCAPED_MAX_BYTES = 3 * (JSON_MAX_BYTES + 1)  # whatever is longer is over every limit, also unescaped
LARGE_BYTES = 256 * 1024  # to decode more would hold up the event loop
CHARSETS = frozenset(
    {"ascii", "us-ascii", "iso-8859-1", "iso-8859-15", "latin1", "latin-1", "windows-1252", "cp1252"}
    | {"utf-16", "utf-16le", "utf-16be"}
)


# -- what a form declares ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MaxBytes:
    """The limit of a field, and what its user is told beyond it."""

    limit: int = TEXT_MAX_BYTES
    refusal: type[RequestError] = ValidationFailed


@dataclass(frozen=True, slots=True)
class Pdf:
    """An uploaded PDF."""

    content: bytes


def _decoded(value: object) -> object:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        raise ValueError("should be UTF-8") from None


Text = Annotated[str, BeforeValidator(_decoded)]
Json = Annotated[bytes, MaxBytes(JSON_MAX_BYTES, InvalidJobData)]


class Form(BaseModel):
    """The form of an operation: fields of the types above."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)


@dataclass(frozen=True, slots=True)
class FormLimits:
    """In bytes."""

    body: int
    cv: int


F = TypeVar("F", bound=Form)


# -- one field while it comes in --------------------------------------------------------------------------------------


class Incoming(Protocol):
    def take(self, chunk: bytes) -> None:
        """Raises the refusal of what cannot be accepted, as soon as that is known."""

    def value(self) -> bytes | Pdf | None:
        """Its whole content, None if it counts as not sent."""


@dataclass(slots=True)
class IncomingText:
    name: str
    most: MaxBytes
    charset: str | None = None
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0

    def take(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > self.most.limit:
            text = f"Field {self.name} is over {self.most.limit} bytes"
            raise self.most.refusal(text, [Problem(text, self.name)])
        self.chunks.append(chunk)

    def value(self) -> bytes | None:
        content = b"".join(self.chunks)
        charset = (self.charset or "utf-8").lower()
        return (content if charset in {"utf-8", "utf8"} else self._as_utf8(content, charset)) or None

    def _as_utf8(self, content: bytes, charset: str) -> bytes:
        try:
            if charset in CHARSETS:
                return content.decode(charset).encode()
        except UnicodeDecodeError:
            pass
        text = f"Field {self.name} cannot be read in its charset"
        raise ValidationFailed(text, [Problem(text, self.name)])


@dataclass(slots=True)
class IncomingPdf:
    """A PDF: by its content type, and by its mark near the beginning."""

    name: str
    limit: int
    content_type: str | None = None
    filename: str | None = None
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0
    marked: bool = False

    def take(self, chunk: bytes) -> None:
        if not self.size and self.content_type != "application/pdf":
            raise self._no_pdf()
        self.chunks.append(chunk)
        self.size += len(chunk)
        if self.size > self.limit:
            text = f"The CV is over {self.limit} bytes"
            raise ResumeTooLarge(text, [Problem(text, self.name)])
        if not self.marked and self.size >= PDF_MARK_WITHIN:
            self._look_for_mark()

    def value(self) -> Pdf | None:
        if not self.size and not self.filename:
            return None
        if not self.marked:
            self._look_for_mark()
        return Pdf(b"".join(self.chunks))

    def _look_for_mark(self) -> None:
        self.marked = PDF_MARK in b"".join(self.chunks)[:PDF_MARK_WITHIN]
        if not self.marked:
            raise self._no_pdf()

    def _no_pdf(self) -> InvalidResumeFormat:
        text = "The CV is not a PDF"
        return InvalidResumeFormat(text, [Problem(text, self.name)])


# -- a whole form -----------------------------------------------------------------------------------------------------


class FormReading:
    """The declared fields of one form, as far as they have come in."""

    def __init__(self, model: type[Form], limits: FormLimits) -> None:
        self._kinds, self._limits = _kinds(model), limits
        self._open: Incoming | None = None
        self._name = ""
        self.values: dict[str, bytes | Pdf] = {}

    def begin(
        self, name: str, charset: str | None = None, content_type: str | None = None, filename: str | None = None
    ) -> None:
        kind = self._kinds.get(name)
        self._name = name
        if kind is None:
            self._open = None
        elif kind is Pdf:
            self._open = IncomingPdf(name, self._limits.cv, content_type, filename)
        else:
            assert isinstance(kind, MaxBytes)
            self._open = IncomingText(name, kind, charset)

    @property
    def wanted(self) -> bool:
        """Whether the field that has begun is a declared one."""
        return self._open is not None

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


async def read_form(request: web.Request, model: type[F], limits: FormLimits) -> F:
    """Reads the whole body. Raises a RequestError for what cannot be accepted; then the rest is not looked at."""
    reading = FormReading(model, limits)
    content_type, options = parse_options_header(request.headers.get(hdrs.CONTENT_TYPE, ""))
    if content_type == MULTIPART:
        await _read_multipart(request, options.get("boundary", ""), limits.body, reading)
    elif content_type == URLENCODED:
        await _read_urlencoded(request, limits.body, reading)
    else:
        raise UnsupportedMediaType(f"Send {MULTIPART}, or {URLENCODED} without a file")
    try:
        return model.model_validate(reading.values)
    except ValidationError as error:
        problems = problems_of(error)
        names = ", ".join(dict.fromkeys(p.field for p in problems if p.field))
        raise ValidationFailed(f"Bad form: {names}", problems) from None


async def _read_multipart(request: web.Request, boundary: str, limit: int, reading: FormReading) -> None:
    try:
        with PushMultipartParser(boundary, max_segment_count=PARTS_MAX) as parser:
            await _read_body(request, limit, partial(_take_multipart, parser, reading))
    except (MultipartError, UnicodeError) as error:
        raise ValidationFailed(f"The form cannot be read: {error}") from None


def _take_multipart(parser: PushMultipartParser, reading: FormReading, chunk: bytes) -> None:
    if parser.closed:
        return  # whatever follows the end
    for event in parser.parse(chunk):
        if isinstance(event, MultipartSegment):
            reading.begin(event.name or "", event.charset, event.content_type, event.filename)
        elif event is None:
            reading.end()
        else:
            reading.take(event)


async def _read_urlencoded(request: web.Request, limit: int, reading: FormReading) -> None:
    chunks: list[bytes] = []
    await _read_body(request, limit, chunks.append)
    body = b"".join(chunks)
    if len(body) > LARGE_BYTES:
        await asyncio.to_thread(_take_urlencoded, reading, body)
    else:
        _take_urlencoded(reading, body)


def _take_urlencoded(reading: FormReading, body: bytes) -> None:
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


async def _read_body(request: web.Request, limit: int, take: Callable[[bytes], None]) -> None:
    """Every piece of the body, in order. A caller that waits to be told goes on only now: he may come in."""
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while chunk := await request.content.readany():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                take(chunk)
    except (web.RequestPayloadError, HttpProcessingError):
        raise ValidationFailed("The body cannot be read") from None
    except TimeoutError:
        raise ValidationFailed("The body did not arrive in time") from None


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is over {limit} bytes")
