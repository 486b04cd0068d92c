"""/console/: the page for people, and the files that it is made of (contract http.md 16).

They lie in `api/console/` as they are written and served: there is no build step. They are read once, when the process
starts. The page uses nothing but the public API of its own origin, and its browser is told to allow nothing else: no
code but these files, and no markup made from text (trusted types).
"""

import asyncio
from collections.abc import Mapping
from importlib.resources import files
from pathlib import PurePath

from aiohttp import web

from api.errors import RouteNotFound
from api.made import UNCHANGED, Made
from api.operations import Bucket, Media, Operations

operations = Operations("Service")

PAGE = "index.html"
MEDIA = {
    ".html": Media("text/html; charset=utf-8"),
    ".css": Media("text/css; charset=utf-8"),
    ".js": Media("text/javascript; charset=utf-8"),
    ".svg": Media("image/svg+xml"),
}
ALLOWED = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data:",
    "form-action": "'none'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
HEADERS = {"Content-Security-Policy": "; ".join(f"{what} {where}" for what, where in ALLOWED.items())}


class ConsoleFiles:
    """`prepare` reads them, before the first request."""

    def __init__(self) -> None:
        self._files: Mapping[str, Made] = {}

    async def prepare(self, _: web.Application) -> None:
        self._files = await asyncio.to_thread(_read)

    def find(self, name: str) -> Made:
        """Raises RouteNotFound."""
        found = self._files.get(name)
        if found is None:
            raise RouteNotFound("The console has no such file")
        return found


CONSOLE = web.AppKey("CONSOLE", ConsoleFiles)


@operations.get(
    "/console/",
    answers=MEDIA[".html"],
    errors=(RouteNotFound,),
    bucket=Bucket.NONE,
    public=True,
    bodiless=UNCHANGED,
    below=True,
)
async def get_console(request: web.Request) -> web.Response:
    """A page to submit, follow and retry applications; what it loads lies below this path."""
    return request.app[CONSOLE].find(request.match_info["below"] or PAGE).answer(request)


def _read() -> Mapping[str, Made]:
    found: dict[str, Made] = {}
    for file in (files("api") / "console").iterdir():
        media = MEDIA.get(PurePath(file.name).suffix)
        if media is not None:
            found[file.name] = Made(file.read_bytes(), media, HEADERS)
            found[file.name].compress()
    return found
