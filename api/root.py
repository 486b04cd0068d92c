"""/ and /metrics: what runs here, and what it counts (contract http.md 11, 16)."""

import asyncio

from aiohttp import hdrs, web
from pydantic import BaseModel

from api.door import authenticate
from api.health import SERVICE, VERSION
from api.keys import SETTINGS
from api.operations import Answer, Bucket, Operations
from infra.metric_kinds import Role
from infra.metrics import CONTENT_TYPE, exposition

operations = Operations()


class RootView(BaseModel):
    message: str
    service: str
    version: str


@operations.get("/", answers=RootView, bucket=Bucket.NONE, public=True)
async def get_root(_: web.Request) -> Answer[RootView]:
    """What runs here."""
    return Answer(RootView(message="Application Manager Service is running", service=SERVICE, version=VERSION))


@operations.get("/metrics", answers=None, bucket=Bucket.NONE, public=True)
async def get_metrics(request: web.Request) -> web.Response:
    """The metrics of this process, for Prometheus. A token is needed only if the settings say so."""
    if request.app[SETTINGS].metrics_auth_required:
        await authenticate(request)
    body = await asyncio.to_thread(exposition, Role.API)
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})
