"""/health*: whether this process lives, can take requests, and what it depends on (contract http.md 10).

The checks run side by side over the connections in use, each with an end. The process is not ready while it ends, and
for good once it has met an event of a newer release (design 4). Nor is it while it has no keys to check tokens with
(OIDC_ISSUER), though the published list of checks has none for that: a release with a wrong issuer takes no requests.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Literal

from aiohttp import web
from pydantic import BaseModel

from api.keys import CLOCK, SETTINGS
from api.operations import Answer, Bucket, Operations
from domain.errors import StoreTimeout

MONGODB, RABBITMQ, EVENT_STORE = "mongodb", "rabbitmq", "event_store"
SERVICE = "application-manager-service"
VERSION = version(SERVICE)
WELL_OR_NOT = (200, 503)

Check = Callable[[], Awaitable[object]]  # raises when the dependency does not answer, or answers False

operations = Operations("Service")


class LiveView(BaseModel):
    """It serves."""

    status: Literal["alive"] = "alive"
    timestamp: datetime


Readiness = Literal["ready", "not_ready"]


class ReadyView(BaseModel):
    """Whether it can take requests. RabbitMQ is told, and does not count."""

    status: Readiness
    timestamp: datetime
    checks: dict[str, Readiness]


Healthiness = Literal["healthy", "unhealthy"]


class DependencyView(BaseModel):
    """How one of the servers is that it depends on."""

    name: str
    status: Healthiness
    latency_ms: float | None
    message: str | None


class HealthView(BaseModel):
    """All that it depends on."""

    status: Healthiness
    version: str
    service: str = SERVICE
    environment: str
    timestamp: datetime
    dependencies: list[DependencyView]


@dataclass(frozen=True, slots=True)
class Checked:
    """What one check found; `problem` is None if all is well, and tells nothing of hosts."""

    name: str
    seconds: float
    problem: str | None


@dataclass(slots=True)
class Health:
    """`checks`: of each dependency. `models_ready`: whether each read model can be read. `tokens_ready`: whether tokens
    can be checked. `seconds`: for one check."""

    checks: Mapping[str, Check]
    models_ready: Check
    tokens_ready: Callable[[], bool]
    seconds: float
    ending: bool = False
    too_old: bool = False  # for what the log holds

    async def dependencies(self) -> Sequence[Checked]:
        return await asyncio.gather(*(self._run(name, check) for name, check in self.checks.items()))

    async def readiness(self) -> tuple[bool, Mapping[str, Readiness]]:
        """RabbitMQ is told, but does not count: no request needs it (contract messaging.md 6)."""
        models, *checked = await asyncio.gather(
            self._run(MONGODB, self.models_ready), *(self._run(name, check) for name, check in self.checks.items())
        )
        failing = {one.name for one in (models, *checked) if one.problem}
        if self.too_old:
            failing.add(EVENT_STORE)
        told: Mapping[str, Readiness] = {name: "not_ready" if name in failing else "ready" for name in self.checks}
        return not self.ending and self.tokens_ready() and not failing - {RABBITMQ}, told

    async def _run(self, name: str, check: Check) -> Checked:
        began = time.monotonic()
        try:
            answer = await asyncio.wait_for(check(), self.seconds)
            problem = None if answer is not False else "not ready"
        except (TimeoutError, StoreTimeout):
            problem = "did not answer in time"
        except Exception:  # whatever it is, the dependency cannot be used
            problem = "cannot be used"
        return Checked(name, time.monotonic() - began, problem)


HEALTH = web.AppKey("HEALTH", Health)


@operations.get("/health/live", answers=LiveView, bucket=Bucket.NONE, public=True)
async def get_live(request: web.Request) -> Answer[LiveView]:
    """The process serves. Touches no dependency."""
    return Answer(LiveView(timestamp=request.app[CLOCK].now()))


@operations.get("/health/ready", answers=ReadyView, bucket=Bucket.NONE, public=True, statuses=WELL_OR_NOT)
async def get_ready(request: web.Request) -> Answer[ReadyView]:
    """Whether it can take requests."""
    ready, checks = await request.app[HEALTH].readiness()
    view = ReadyView(status="ready" if ready else "not_ready", timestamp=request.app[CLOCK].now(), checks=dict(checks))
    return Answer(view, status=200 if ready else 503)


@operations.get("/healthcheck", answers=HealthView, bucket=Bucket.NONE, public=True, statuses=WELL_OR_NOT)
@operations.get("/health", answers=HealthView, bucket=Bucket.NONE, public=True, statuses=WELL_OR_NOT)
async def get_health(request: web.Request) -> Answer[HealthView]:
    """The process with all that it depends on."""
    found = await request.app[HEALTH].dependencies()
    well = not any(one.problem for one in found)
    view = HealthView(
        status="healthy" if well else "unhealthy",
        version=VERSION,
        environment=request.app[SETTINGS].environment,
        timestamp=request.app[CLOCK].now(),
        dependencies=[_dependency(one) for one in found],
    )
    return Answer(view, status=200 if well else 503)


def _dependency(checked: Checked) -> DependencyView:
    return DependencyView(
        name=checked.name,
        status="unhealthy" if checked.problem else "healthy",
        latency_ms=None if checked.problem else round(checked.seconds * 1000, 3),
        message=checked.problem,
    )
