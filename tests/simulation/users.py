"""Who submits, retries and cancels: through the commands that the API calls, in a process of the API that may die.

A user who got no answer asks again with his idempotency key; one who gave none does not know, and lets it be.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

from domain.appending import Guard
from domain.batch_commands import BatchCommands, Item
from domain.commands import ApplicationCommands, Submitted
from domain.errors import DomainError, DuplicateRequest, StoreError
from domain.event import Cause
from domain.idempotency import IdempotencyKey, key_stream
from domain.job import Job
from tests.simulation.chances import Chances
from tests.simulation.loop import Killed

TRIES = 40
HOUR = 3600.0


@dataclass(slots=True)
class Api:
    """What a process of the API offers."""

    applications: ApplicationCommands
    batches: BatchCommands


@dataclass(slots=True)
class Answered:
    """What users were told."""

    applications: set[UUID] = field(default_factory=set)
    by_key: dict[str, set[str]] = field(default_factory=dict)  # the answers that a key got


@dataclass(slots=True)
class User:
    """One person, by his number."""

    number: int
    ask: Callable[[Callable[[Api], Awaitable[object]]], Awaitable[object]]
    chances: Chances
    answered: Answered

    @property
    def name(self) -> str:
        return f"user-{self.number}"

    async def act(self) -> None:
        """A few things, one after another."""
        random = self.chances.random
        for number in range(random.choice((1, 1, 2, 3))):
            await asyncio.sleep(random.uniform(0, self.chances.until * 0.7))
            match random.choice(("plain", "keyed", "keyed", "twice", "batch")):
                case "plain":
                    await self._submit(None)
                case "keyed":
                    await self._submit(f"{self.name}-{number}")
                case "twice":
                    key = f"{self.name}-{number}"
                    await asyncio.gather(self._submit(key), self._submit(key))
                case _:
                    await self._submit_batch()
            if random.random() < 0.3:
                await self._look_after_one()

    async def _submit(self, key: str | None) -> None:
        jobs = self._jobs()
        for _ in range(TRIES):
            try:
                id = await self.ask(lambda api: submit(api, self.name, jobs, key))
            except (StoreError, DomainError, Killed):
                if key is None:
                    return
                await asyncio.sleep(0.5)
                continue
            assert isinstance(id, UUID)
            self.answered.applications.add(id)
            if key is not None:
                self.answered.by_key.setdefault(key, set()).add(id.hex)
            return

    async def _submit_batch(self) -> None:
        items = [Item(self._jobs(), None) for _ in range(self.chances.random.choice((1, 2, 4)))]
        try:
            done = await self.ask(lambda api: api.batches.submit(self.name, items, None, Cause(f"user:{self.name}")))
        except (StoreError, DomainError, Killed):
            return
        self.answered.applications.update(done.application_ids)  # type: ignore[attr-defined]
        if self.chances.random.random() < 0.3:
            await asyncio.sleep(self.chances.random.uniform(0, 1))
            id: UUID = done.batch_id  # type: ignore[attr-defined]
            await self._try(lambda api: api.batches.cancel(self.name, id, Cause(f"user:{self.name}")))

    async def _look_after_one(self) -> None:
        """Cancels one, or retries what failed of it."""
        if not self.answered.applications:
            return
        id = self.chances.random.choice(sorted(self.answered.applications))
        await asyncio.sleep(self.chances.random.uniform(0, 3))
        cause = Cause(f"user:{self.name}")
        if self.chances.random.random() < 0.4:
            await self._try(lambda api: api.applications.cancel(self.name, id, cause))
        else:
            await self._try(lambda api: api.applications.retry(self.name, id, cause))

    async def _try(self, call: Callable[[Api], Awaitable[object]]) -> None:
        try:
            await self.ask(call)
        except (StoreError, DomainError, Killed):
            return

    def _jobs(self) -> tuple[Job, ...]:
        portals = [
            self.chances.random.choice(("keyed", "blind")) for _ in range(self.chances.random.choice((1, 1, 2, 3)))
        ]
        return tuple(Job.model_validate({"title": "Baker", "portal": portal}) for portal in portals)


async def submit(api: Api, user: str, jobs: tuple[Job, ...], key: str | None) -> UUID:
    """What the API does with a submission (contract http.md 1.5, 2). Raises DuplicateRequest besides."""
    commands, cause = api.applications, Cause(f"user:{user}", key)
    if key is None:
        return (await commands.submit(user, jobs, None, None, cause)).application_id
    stream = key_stream(user, "POST", "/applications", key)
    for _ in range(3):
        state = IdempotencyKey.fold(stream, await commands.log.read_stream(stream))
        used = state.replay("content", commands.clock.now(), 24 * HOUR)
        if used is not None:
            return UUID(used.body)
        guard: Guard[Submitted] = Guard(state, "content", lambda done: done.application_id.hex)
        try:
            return (await commands.submit(user, jobs, None, None, cause, guard)).application_id
        except DuplicateRequest:
            continue
    raise DuplicateRequest
