"""/openapi.json and /docs: what this service can be asked, for programs and for people (contract http.md 16).

Both are made once, when the process starts. The page is one file that loads nothing but the document, and its browser
is told to allow nothing else.
"""

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files

import orjson
from aiohttp import web

from api.made import UNCHANGED, Made
from api.openapi.document import document_of
from api.operations import Bucket, Media, Operation, Operations
from infra.settings import Settings

operations = Operations("Service")

JSON, HTML = Media("application/json"), Media("text/html; charset=utf-8")
PAGE, STYLE, SCRIPT = "page.html", "page.css", "page.js"  # the last two take the place of their names in the first


class Documentation:
    """`prepare` makes it, before the first request."""

    def __init__(self, described: Sequence[Operation], settings: Settings) -> None:
        self._described, self._settings = described, settings
        self.document = self.page = Made(b"", JSON)

    async def prepare(self, _: web.Application) -> None:
        self.document, self.page = await asyncio.to_thread(self._make)

    def _make(self) -> tuple[Made, Made]:
        document = orjson.dumps(document_of(self._described, self._settings))
        made = Made(document, JSON), _page()
        for one in made:
            one.compress()
        return made


DOCUMENTATION = web.AppKey("DOCUMENTATION", Documentation)


@operations.get("/openapi.json", answers=JSON, bucket=Bucket.NONE, public=True, bodiless=UNCHANGED)
async def get_openapi(request: web.Request) -> web.Response:
    """All calls of this service, as OpenAPI 3.1."""
    return request.app[DOCUMENTATION].document.answer(request)


@operations.get("/docs", answers=HTML, bucket=Bucket.NONE, public=True, bodiless=UNCHANGED)
async def get_docs(request: web.Request) -> web.Response:
    """The same as a page to read."""
    return request.app[DOCUMENTATION].page.answer(request)


def _page() -> Made:
    folder = files("api.openapi") / "page"
    page, style, script = ((folder / name).read_text(encoding="utf-8") for name in (PAGE, STYLE, SCRIPT))
    whole = page.replace(f"/* {STYLE} */", style).replace(f"/* {SCRIPT} */", script)
    allowed = {
        "default-src": "'none'",
        "style-src": _hash(style),
        "script-src": _hash(script),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    policy = "; ".join(f"{what} {where}" for what, where in allowed.items())
    return Made(whole.encode(), HTML, {"Content-Security-Policy": policy})


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
