"""The small server beside a role that has no API: `/metrics`, `/health/live`, `/health/ready` (contract config.md).

Alive means that the role's loop has turned within STUCK_SECONDS; one that waits in a back-off turns. The role says so
by `Heartbeat.beat`, once a turn. Ready is what the role's own checks answer within their time, and what it says itself
of what it needs (`Heartbeat.says`): so a roll-out with a wrong address stops at its first process. The server runs in
the role's event loop: one that is blocked answers nothing at all, which a probe takes for dead as well.
"""

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from infra import metrics
from infra.metric_kinds import Role

STUCK_SECONDS = 30.0
CLOSE_SECONDS = 1.0  # for answers under way when the server ends

Readiness = Callable[[], Awaitable[Mapping[str, bool]]]
"""Each thing that the role needs, and whether it can be used. What raises is not ready."""


class CannotListen(Exception):
    """The address cannot be had. One line for the user."""


class Heartbeat:
    """When the role's loop last turned, and what it says that it has. A new one counts as a turn."""

    def __init__(self, role: Role, now: Callable[[], float] = time.monotonic, *, needs: Sequence[str] = ()) -> None:
        """`needs`: what it will say something of; until then it lacks that."""
        self.role = role
        self.needs = dict.fromkeys(needs, False)
        self._now = now
        self.beat()

    def beat(self) -> None:
        """The loop has turned."""
        self._last = self._now()
        metrics.ROLE_LAST_TURN_TIMESTAMP_SECONDS.set(time.time(), role=self.role)

    def says(self, need: str, well: bool) -> None:
        """Whether something that the role needs can be used now."""
        self.needs[need] = well

    @property
    def alive(self) -> bool:
        return self._now() - self._last < STUCK_SECONDS


@asynccontextmanager
async def role_server(
    heartbeat: Heartbeat, ready: Readiness, *, host: str, port: int, check_seconds: float
) -> AsyncIterator[None]:
    """Serves while the body runs. Port 0: not at all. Raises CannotListen."""
    if port == 0:
        yield
        return
    app = web.Application()
    app.add_routes(_routes(heartbeat, ready, check_seconds))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_SECONDS)
    await runner.setup()
    try:
        await _listen(runner, host, port)
        yield
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        reason = "the port is taken" if error.errno == errno.EADDRINUSE else error.strerror or error
        raise CannotListen(f"Cannot listen at {host} port {port}: {reason}") from error


def _routes(heartbeat: Heartbeat, ready: Readiness, check_seconds: float) -> list[web.RouteDef]:
    async def get_metrics(_: web.Request) -> web.Response:
        body = await asyncio.to_thread(metrics.exposition, heartbeat.role)
        return web.Response(body=body, headers={"Content-Type": metrics.CONTENT_TYPE})

    async def get_live(_: web.Request) -> web.Response:
        return _answer(heartbeat.alive, "alive", "stuck")

    async def get_ready(_: web.Request) -> web.Response:
        checks = {**await _checks(ready, check_seconds), **heartbeat.needs}
        told = {name: "ready" if well else "not_ready" for name, well in checks.items()}
        return _answer(bool(checks) and all(checks.values()), "ready", "not_ready", checks=told)

    return [
        web.get("/metrics", get_metrics),
        web.get("/health/live", get_live),
        web.get("/health/ready", get_ready),
    ]


async def _checks(ready: Readiness, seconds: float) -> Mapping[str, bool]:
    try:
        async with asyncio.timeout(seconds):
            return await ready()
    except Exception:  # whatever it is, the role cannot do its work
        return {"role": False}


def _answer(well: bool, good: str, bad: str, **more: Any) -> web.Response:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = {"status": good if well else bad, "timestamp": now, **more}
    return web.Response(body=orjson.dumps(body), status=200 if well else 503, content_type="application/json")
