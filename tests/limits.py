"""For the tests of rate limits: limits that a test can reach, a clock that it moves, and what an answer tells."""

import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import orjson

from api.app import Dependencies
from domain.ports import EventLog
from infra.clock import SystemClock
from infra.settings import Settings
from tests.api import Answer, Api, User, settings_for

REQUESTS, APPLICATIONS = 10, 3
LIMITS = {
    "rate_limit_enabled": True,
    "rate_limit_requests": f"{REQUESTS}/hour",
    "rate_limit_applications": f"{APPLICATIONS}/hour",
    "trusted_proxies": "127.0.0.1, 10.0.0.0/8",
}
FOREVER = 4102444800
HOUR = 3600
ITEM = {"jobs": [{"title": "Baker"}]}


class StoppedClock(SystemClock):
    """Stands still until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self._at = super().now()

    def now(self) -> datetime:
        return self._at

    @property
    def seconds(self) -> float:
        return self._at.timestamp()

    def advance(self, seconds: float) -> None:
        self._at += timedelta(seconds=seconds)


def limited_settings(mongodb_uri: str, database: str, folder: Path) -> Settings:
    return settings_for(f"sqlite:///{folder}/events.db", mongodb_uri, database, **LIMITS)


def with_clock(
    clock: StoppedClock, log: Callable[[EventLog], EventLog] = lambda log: log
) -> Callable[..., Dependencies]:
    return lambda deps: dataclasses.replace(deps, clock=clock, log=log(deps.log))


def standing(answer: Answer) -> tuple[int, int, int]:
    limit, remaining, reset = (int(answer.headers[f"X-RateLimit-{name}"]) for name in ("Limit", "Remaining", "Reset"))
    return limit, remaining, reset


def remaining(answer: Answer) -> tuple[int, int]:
    return standing(answer)[:2]


def untold(answer: Answer) -> bool:
    return not any(name.startswith("X-RateLimit") for name in answer.headers)


def too_many(answer: Answer) -> Answer:
    answer.refused(429, "ERR_7001", "RateLimitError")
    assert int(answer.headers["Retry-After"]) >= 1
    return answer


async def submit_batch(user: User, items: int, key: str | None = None) -> Answer:
    headers = {} if key is None else {"X-Idempotency-Key": key}
    return await user.ask("POST", "/batch/applications", headers, data={"items": orjson.dumps([ITEM] * items).decode()})


async def submit(user: User, key: str, title: str = "Baker") -> Answer:
    jobs = orjson.dumps({"jobs": [{"title": title}]}).decode()
    return await user.ask("POST", "/applications", {"X-Idempotency-Key": key}, data={"jobs": jobs})


async def created(api: Api, user: User) -> int:
    events = await api.event_store.log.read(0, 100_000)
    return sum(1 for one in events if one.event.NAME == "application.submitted" and one.owner.user_id == user.id)


def statuses(answers: Sequence[Answer]) -> dict[int, int]:
    told = [answer.status for answer in answers]
    return {status: told.count(status) for status in set(told)}
