"""Keeps services running: starts each again when it has ended, later each time, and stops all in order.

States of a service: running; ended, and to be started again after a pause of 0.5 s, doubled to 30 s at most and back to
0.5 s once it has run for a minute; ended for good, which ends the whole, with its reason. A service that cannot be
started again is tried again after the next pause: only the first start, which `up` makes and can explain, may fail.

Services are stopped in the reverse order of their start: what was started last needs what was started before.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Ended:
    """How a service ended by itself."""

    reason: str
    final: bool  # it would end in the same way again


class Service(Protocol):
    """Something that runs beside us: a role's process, or a local server."""

    name: str

    async def start(self) -> None:
        """Raises when it cannot be started."""

    async def wait(self) -> Ended:
        """Returns when it has ended by itself."""

    async def stop(self, grace: float) -> bool:
        """Ends it within `grace` seconds, then by force. False when it took force."""

    async def kill(self) -> None:
        """Ends it now."""


@dataclass(frozen=True, slots=True)
class BackOff:
    """Pauses between starts, in seconds."""

    first: float = 0.5
    longest: float = 30.0
    steady_after: float = 60.0  # a run of this length was a good one: the next pause is the first again


class Supervisor:
    """Runs services until one has ended for good or `stop` is called. `tell` gets one readable line at a time."""

    def __init__(self, tell: Callable[[str], None], back_off: BackOff | None = None) -> None:
        self._tell = tell
        self._back_off = back_off or BackOff()
        self._services: list[Service] = []
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._halted = asyncio.Event()
        self._reason = ""

    @property
    def runs(self) -> bool:
        """Whether there is anything to stop."""
        return bool(self._services)

    async def start(self, service: Service) -> None:
        """Starts it and keeps it running from now on. Raises what its first start raises."""
        await service.start()
        self._services.append(service)
        self._keepers[service.name] = asyncio.create_task(self._keep(service), name=f"keeps {service.name}")

    async def halted(self) -> str:
        """Waits until a service has ended for good: its name and reason."""
        await self._halted.wait()
        return self._reason

    async def stop(self, grace: float) -> None:
        """Stops all, each within `grace` seconds."""
        while self._services:
            service = self._services[-1]
            await self._let_go(service)
            if not await service.stop(grace):
                self._tell(f"{service.name} did not end within {grace:g} s and was killed")
            self._services.remove(service)

    async def kill(self) -> None:
        """Ends all at once. A `stop` that is under way returns soon after."""
        services = list(self._services)
        for service in services:
            await self._let_go(service)
        await asyncio.gather(*(service.kill() for service in services))

    async def _let_go(self, service: Service) -> None:
        keeper = self._keepers.pop(service.name, None)
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])

    async def _keep(self, service: Service) -> None:
        pause = self._back_off.first
        while True:
            started = time.monotonic()
            ended = await service.wait()
            if ended.final:
                self._halt(f"{service.name}: {ended.reason}")
                return
            if time.monotonic() - started >= self._back_off.steady_after:
                pause = self._back_off.first
            self._tell(f"{service.name} ended: {ended.reason}; starting it again in {pause:g} s")
            pause = await self._start_again(service, pause)

    async def _start_again(self, service: Service, pause: float) -> float:
        """Pauses and tries until it is started. Gives the pause after its next end."""
        while True:
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._back_off.longest)
            try:
                await service.start()
            except Exception as error:
                self._tell(f"{service.name} cannot be started: {error}; trying again in {pause:g} s")
            else:
                self._tell(f"{service.name} is started again")
                return pause

    def _halt(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._halted.set()
