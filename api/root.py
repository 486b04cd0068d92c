"""/ and /metrics: what runs here, and what it counts (contract http.md 11, 16)."""

import asyncio
import re
from collections.abc import Mapping
from types import MappingProxyType

from aiohttp import hdrs, web
from pydantic import BaseModel

from api.door import authenticate
from api.errors import json_response
from api.health import SERVICE, VERSION
from api.keys import SETTINGS
from api.operations import Bucket, Media, Operations
from domain.errors import AuthenticationRequired, InvalidToken, TokenExpired
from infra.metric_kinds import Role
from infra.metrics import CONTENT_TYPE, exposition

operations = Operations("Service")

REFUSALS = (AuthenticationRequired, InvalidToken, TokenExpired)  # where METRICS_AUTH_REQUIRED is set
WEIGHT = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.ASCII)
CONSOLE = "/console/"
VARIES: Mapping[str, str] = MappingProxyType({hdrs.VARY: hdrs.ACCEPT})


class RootView(BaseModel):
    """What runs here."""

    message: str
    service: str
    version: str


@operations.get(
    "/",
    answers=RootView,
    bucket=Bucket.NONE,
    public=True,
    bodiless={303: "A browser (`Accept: text/html`) is led to the console"},
)
async def get_root(request: web.Request) -> web.Response:
    """What runs here. A browser is led to the console."""
    if wants_html(request.headers.get(hdrs.ACCEPT, "")):
        return web.Response(status=303, headers={hdrs.LOCATION: CONSOLE, **VARIES})
    view = RootView(message="Application Manager Service is running", service=SERVICE, version=VERSION)
    return json_response(view, headers=VARIES)


def wants_html(accept: str) -> bool:
    """Whether HTML is asked for by name, and JSON no more than that."""
    weights: dict[str, float] = {}
    for choice in accept.split(","):
        kind, _, options = choice.partition(";")
        weights[kind.strip().lower()] = _weight(options)
    html = weights.get("text/html", 0.0)
    return html > 0 and html >= weights.get("application/json", 0.0)


def _weight(options: str) -> float:
    """What stands behind `q=`; what cannot be read counts as not asked for."""
    for option in options.split(";"):
        name, _, value = option.partition("=")
        if name.strip().lower() == "q":
            return float(value) if WEIGHT.fullmatch(value.strip()) else 0.0
    return 1.0


@operations.get("/metrics", answers=Media(CONTENT_TYPE), errors=REFUSALS, bucket=Bucket.NONE, public=True)
async def get_metrics(request: web.Request) -> web.Response:
    """The metrics of this process, for Prometheus. A token is needed only if the settings say so."""
    if request.app[SETTINGS].metrics_auth_required:
        await authenticate(request)
    body = await asyncio.to_thread(exposition, Role.API)
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})
