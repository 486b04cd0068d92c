"""One field of a form while it comes in: what it may be, and how much of it (contract http.md 1.1, 1.8, 2).

A field refuses what cannot be accepted as soon as that is known, so that no more is read for nothing.
"""

from dataclasses import dataclass, field
from typing import Annotated, Protocol

from pydantic import BaseModel, BeforeValidator, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from api.errors import InvalidJobData, InvalidResumeFormat, Problem, RequestError, ResumeTooLarge, ValidationFailed

TEXT_MAX_BYTES = 64 * 1024
STYLE_MAX = 100  # characters
JSON_MAX_BYTES = 4 * 1024 * 1024
PDF_TYPE, PDF_MARK, PDF_MARK_WITHIN = "application/pdf", b"%PDF-", 1024
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
class Holds:
    """What the JSON in a field is, for who reads the OpenAPI document."""

    model: type[BaseModel]


@dataclass(frozen=True, slots=True)
class Pdf:
    """An uploaded PDF."""

    content: bytes

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        limit = {"setting": "max_cv_bytes"}
        return {"type": "string", "format": "binary", "contentMediaType": PDF_TYPE, "maxLength": limit}


def _decoded(value: object) -> object:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        raise ValueError("should be UTF-8") from None


Text = Annotated[str, BeforeValidator(_decoded)]
Json = Annotated[bytes, MaxBytes(JSON_MAX_BYTES, InvalidJobData)]
Style = Annotated[Text, Field(max_length=STYLE_MAX, description="Of the documents, in words", examples=["modern"])]


# -- what comes in ----------------------------------------------------------------------------------------------------


class Incoming(Protocol):
    def take(self, chunk: bytes) -> None:
        """Raises the refusal of what cannot be accepted."""

    def value(self) -> bytes | Pdf | None:
        """Its whole content, None if it counts as not sent."""


@dataclass(slots=True)
class IncomingText:
    """A text in UTF-8, or in the charset that it names; a text that is empty counts as not sent."""

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
    """A PDF: by its content type, and by its mark near the beginning. An empty part without a file name is none."""

    name: str
    limit: int
    content_type: str | None = None
    filename: str | None = None
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0
    marked: bool = False

    def take(self, chunk: bytes) -> None:
        if not self.size and self.content_type != PDF_TYPE:
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
