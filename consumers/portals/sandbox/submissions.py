"""Reads a submission from a request: JSON, or a form with the PDF beside it (contract portals.md 2)."""

from typing import Annotated, Any

import orjson
from aiohttp import web
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from pydantic import BaseModel, ConfigDict, Field, ValidationError

SUBMISSION_BYTES = 8 * 2**20  # without the PDF
FORM_BYTES = 64 * 2**20

Id = Annotated[str, Field(min_length=1, max_length=256)]


class Job(BaseModel):
    """What the sandbox heeds of a job."""

    title: str | None = None


class Submission(BaseModel):
    model_config = ConfigDict(strict=True)

    entry_id: Id
    application_id: Id
    job: Job
    documents: dict[str, Any] = Field(default_factory=dict)

    @property
    def title(self) -> str:
        return self.job.title or ""


async def read_submission(request: web.Request) -> Submission:
    """Raises HTTPBadRequest, HTTPRequestEntityTooLarge or HTTPUnsupportedMediaType, each with its reason."""
    match request.content_type:
        case "application/json":
            content = await request.read()
        case "multipart/form-data":
            content = await _submission_part(request)
        case other:
            raise web.HTTPUnsupportedMediaType(text=f"a submission is JSON or a form, not {other}")
    try:
        return Submission.model_validate(orjson.loads(content))
    except orjson.JSONDecodeError:
        raise web.HTTPBadRequest(text="the submission is not JSON") from None
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, e["loc"])) or "submission" for e in error.errors())
        raise web.HTTPBadRequest(text=f"the submission cannot be used: {fields}") from None


async def _submission_part(request: web.Request) -> bytes:
    """The part `submission`. The PDF is read to its end and let go."""
    try:
        with PushMultipartParser(_boundary(request)) as parser:
            form, size = _Form(), 0
            async for chunk in request.content.iter_any():
                size += len(chunk)
                for event in parser.parse(chunk):
                    form.add(event)
                if size > FORM_BYTES or len(form.submission or b"") > SUBMISSION_BYTES:
                    raise web.HTTPRequestEntityTooLarge(FORM_BYTES, size, text="the submission is too large")
    except MultipartError as error:
        raise web.HTTPBadRequest(text=f"the form cannot be read: {error}") from None
    if form.submission is None:
        raise web.HTTPBadRequest(text="the form has no part named submission")
    return bytes(form.submission)


def _boundary(request: web.Request) -> str:
    _, options = parse_options_header(request.headers.get("Content-Type", ""))
    return str(options.get("boundary", ""))


class _Form:
    """What of a form's parts is kept."""

    def __init__(self) -> None:
        self.submission: bytearray | None = None
        self._name = ""

    def add(self, event: MultipartSegment | bytes | None) -> None:
        """A part's beginning, some of its bytes, or its end (None)."""
        if isinstance(event, MultipartSegment):
            self._name = event.name
            if self._name == "submission":
                self.submission = bytearray()
        elif event is not None and self._name == "submission" and self.submission is not None:
            self.submission += event
