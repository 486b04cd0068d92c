"""The local servers of `up`: which are to be started, where, and each as a service that is kept running.

A server is started where its setting is unset, or names this machine at a port where nothing listens (contract cli.md
5). That is as 127.0.0.1 or localhost: ours listen nowhere else, so another address of this machine at which nothing
listens is refused, with a line that says so, instead of being waited for. One that runs already is used and never
touched. A server of ours keeps its port from run to run while nobody else has taken it, and its data always.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from api.cli.addresses import Address, address_of, is_of_this_machine, somebody_listens, why_not_free
from api.cli.ending import CommandFailed
from api.cli.supervisor import Ended
from infra.local_servers import Running, start_mongodb, start_postgresql, start_rabbitmq
from infra.settings import Settings

_LOOK_SECONDS = 0.5
_OURS = {"localhost", "127.0.0.1"}  # hosts that our servers are reached at


@dataclass(frozen=True, slots=True)
class Engine:
    """A kind of server, and the setting that says where it is."""

    name: str
    setting: str  # field of Settings
    default_port: int
    start: Callable[[Path, int | None], Awaitable[Running]]

    @property
    def variable(self) -> str:
        return self.setting.upper()


MONGODB = Engine("MongoDB", "mongodb", 27017, start_mongodb)
RABBITMQ = Engine("RabbitMQ", "rabbitmq_url", 5672, start_rabbitmq)
POSTGRESQL = Engine("PostgreSQL", "event_store", 5432, start_postgresql)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine of ours is to run. `port` None: any free one."""

    engine: Engine
    port: int | None


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A server that is somebody else's: used as the setting says."""

    engine: Engine
    address: Address | None  # None: several, or a name that only a name server can tell
    reached: bool = False

    def __str__(self) -> str:
        if self.reached:
            return f"{self.address}, which runs already"
        if self.address is None:
            return f"as {self.engine.variable} says"
        return f"nothing listens at {self.address} ({self.engine.variable}), it is not started there but waited for"


def place_of(engine: Engine, settings: Settings, earlier: Mapping[str, str]) -> Place | Elsewhere:
    """`settings` without what an earlier `up` wrote, `earlier` with it. Blocks for a second at most.

    Raises CommandFailed for an address of this machine at which nothing listens and none of ours can.
    """
    if engine.setting not in settings.model_fields_set:
        return Place(engine, _earlier_port(engine, earlier))
    address = address_of(getattr(settings, engine.setting), engine.default_port)
    if address is None:
        return Elsewhere(engine, None)
    if somebody_listens(address):
        return Elsewhere(engine, address, reached=True)
    if address.host.lower() in _OURS:
        return Place(engine, address.port)
    if is_of_this_machine(address.host):
        raise CommandFailed(
            f"nothing listens at {address} ({engine.variable}), and a server is started at 127.0.0.1 only: "
            f"name that address, leave {engine.variable} out, or start one there"
        )
    return Elsewhere(engine, address)


def engines_for(settings: Settings) -> list[Engine]:
    """PostgreSQL only where the setting names it: the event store is a file otherwise."""
    postgresql = [POSTGRESQL] if settings.event_store.startswith("postgresql://") else []
    return [MONGODB, RABBITMQ, *postgresql]


def _earlier_port(engine: Engine, earlier: Mapping[str, str]) -> int | None:
    address = address_of(earlier.get(engine.variable, ""), engine.default_port)
    if address is None or address.host != "127.0.0.1" or why_not_free(address):
        return None
    return address.port


class LocalServer:
    """A server of ours as a service: when it dies it is started again at the same port, with its data."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.name = place.engine.name
        self._engine = place.engine
        self._port = place.port
        self._folder = folder
        self._running: Running | None = None

    @property
    def address(self) -> Address:
        address = address_of(self.running.url, self._engine.default_port)
        assert address is not None, "a server of ours has one address"
        return address

    @property
    def running(self) -> Running:
        assert self._running is not None, "started before"
        return self._running

    async def start(self) -> None:
        self._running = await self._engine.start(self._folder, self._port)
        self._port = self.address.port

    async def wait(self) -> Ended:
        while self.running.alive:
            await asyncio.sleep(_LOOK_SECONDS)
        return Ended(f"see {self.running.log}", final=False)

    async def stop(self, grace: float) -> bool:
        """A server takes its own time to end, which it bounds itself: its data is worth more than ours."""
        if self._running is not None:
            await self._running.stop()
        return True

    async def kill(self) -> None:
        if self._running is not None:
            await self._running.kill()
