"""The sandbox portal's HTTP server: stands in for job portals in development, demos and tests (contract portals.md 3).

What it received is in an SQLite file, and each answer leaves after its commit, so it can be killed at any moment. The
mode (`PUT /mode`) is in memory: a portal that starts anew is well.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from aiohttp import web
from pydantic import BaseModel, Field, ValidationError

from consumers.portals.sandbox.markers import Markers
from consumers.portals.sandbox.received import Delivery, Verdict, deliver, forget, page, summary
from consumers.portals.sandbox.store import ReceivedStore, StoreBusyError
from consumers.portals.sandbox.submissions import SUBMISSION_BYTES, read_submission

logger = logging.getLogger(__name__)

PAGE_DEFAULT, PAGE_MAX = 100, 1000
SLOW_MODE_SECONDS = 2.0
SHUTDOWN_SECONDS = 2.0

MODES = {
    "ok": Markers(),
    "down": Markers(down=True),
    "slow": Markers(slow=SLOW_MODE_SECONDS),
    "hang": Markers(hang=True),
}


class ModeChange(BaseModel):
    """For how many seconds; without them until the next change."""

    mode: Literal["ok", "down", "slow", "hang"]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class Behaviour:
    """How the whole portal behaves, and whether it closes."""

    def __init__(self) -> None:
        self.closing = asyncio.Event()
        self._markers, self._until = Markers(), math.inf

    def change(self, to: ModeChange) -> None:
        self._markers = MODES[to.mode]
        self._until = math.inf if to.seconds is None else time.monotonic() + to.seconds

    @property
    def markers(self) -> Markers:
        return self._markers if time.monotonic() < self._until else Markers()

    async def pause(self, seconds: float) -> None:
        """That long, or until the portal closes."""
        try:
            await asyncio.wait_for(self.closing.wait(), seconds)
        except TimeoutError:
            return


STORE = web.AppKey("STORE", ReceivedStore)
BEHAVIOUR = web.AppKey("BEHAVIOUR", Behaviour)


def create_app(database: Path) -> web.Application:
    """The portal with its records in that file; its folder is made if it is missing."""
    app = web.Application(client_max_size=SUBMISSION_BYTES, middlewares=[_errors])
    app.add_routes(
        [
            web.post("/submit", partial(_submit, blind=False)),
            web.post("/submit-blind", partial(_submit, blind=True)),
            web.get("/received", _get_received),
            web.delete("/received", _delete_received),
            web.get("/summary", _get_summary),
            web.put("/mode", _put_mode),
        ]
    )

    async def opened(app: web.Application) -> AsyncIterator[None]:
        app[BEHAVIOUR] = Behaviour()
        async with ReceivedStore(database) as app[STORE]:
            yield

    async def closing(app: web.Application) -> None:
        app[BEHAVIOUR].closing.set()

    app.cleanup_ctx.append(opened)
    app.on_shutdown.append(closing)
    return app


async def run(host: str, port: int, database: Path) -> None:
    """Serves until it is cancelled. OSError if the address cannot be had."""
    runner = web.AppRunner(create_app(database), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
        logger.info("Sandbox portal listens", extra={"event_type": "sandbox_started", "host": host, "port": port})
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


# -- submissions ------------------------------------------------------------------------------------------------------


async def _submit(request: web.Request, *, blind: bool) -> web.StreamResponse:
    submission = await read_submission(request)
    delivery = Delivery(
        entry_id=submission.entry_id,
        application_id=submission.application_id,
        key=_key(request, needed=not blind),
        blind=blind,
        markers=Markers.of(submission.title) | request.app[BEHAVIOUR].markers,
        at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )
    verdict = await request.app[STORE].run(partial(deliver, delivery=delivery))
    return await _answer(request, verdict, delivery.markers)


def _key(request: web.Request, *, needed: bool) -> str:
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > 255 or not key.isascii() or not key.isprintable():
        raise web.HTTPBadRequest(text="Idempotency-Key: at most 255 visible characters of ASCII")
    if needed and not key:
        raise web.HTTPBadRequest(text="Idempotency-Key is missing")
    return key


async def _answer(request: web.Request, verdict: Verdict, markers: Markers) -> web.StreamResponse:
    """The manner of answering: late, not at all, or with a closed connection. What is told is committed already."""
    behaviour = request.app[BEHAVIOUR]
    if markers.slow:
        await behaviour.pause(markers.slow)
    if verdict.status != 503 and markers.drop and verdict.first:
        return _hang_up(request)
    if verdict.status != 503 and markers.hang:
        while request.transport is not None and not behaviour.closing.is_set():  # until the client has gone
            await behaviour.pause(1.0)
        return _hang_up(request)
    return web.Response(status=verdict.status, body=verdict.body, content_type="application/json")


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.close()
    return web.Response()  # goes nowhere


# -- what it received -------------------------------------------------------------------------------------------------


async def _get_received(request: web.Request) -> web.Response:
    query = request.query
    listing = partial(
        page,
        application_id=query.get("application_id") or None,
        entry_id=query.get("entry_id") or None,
        limit=_number(request, "limit", PAGE_DEFAULT, 1, PAGE_MAX),
        after=_number(request, "cursor", 0, 0, 2**62),
    )
    return _json(await request.app[STORE].run(listing))


def _number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise web.HTTPUnprocessableEntity(text=f"{name}: not a number from {least} to {most}")
    return int(text)


async def _delete_received(request: web.Request) -> web.Response:
    return _json(await request.app[STORE].run(forget))


async def _get_summary(request: web.Request) -> web.Response:
    return _json(await request.app[STORE].run(summary))


async def _put_mode(request: web.Request) -> web.Response:
    try:
        change = ModeChange.model_validate_json(await request.read())
    except ValidationError:
        raise web.HTTPUnprocessableEntity(text='expected {"mode": ok, down, slow or hang, "seconds": number}') from None
    request.app[BEHAVIOUR].change(change)
    return _json(change.model_dump())


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(content), content_type="application/json")


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Every error as `{"message"}`."""
    try:
        answer: web.StreamResponse = await handler(request)
    except web.HTTPException as error:
        return _json({"message": error.text or error.reason}, error.status)
    except StoreBusyError:
        return _json({"message": "Too many submissions wait"}, 503)
    except ConnectionError:  # the client has gone before its submission was whole
        return _hang_up(request)
    return answer
