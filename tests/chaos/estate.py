"""Servers, the proxies before them, and the roles of one round: what a fault can strike."""

import asyncio
import json
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import psycopg
from psycopg import sql

from infra.local_servers import Running, start_mongodb, start_postgresql, start_rabbitmq
from tests.chaos.facts import Outage
from tests.chaos.plan import ROLES, Fault, Harm
from tests.end_to_end.service import Service, until
from tests.ports import free_ports
from tests.tcp_proxy import TcpProxy, Weather

STARTS: Mapping[str, Callable[..., Awaitable[Running]]] = {
    "mongodb": start_mongodb,
    "rabbitmq": start_rabbitmq,
    "postgresql": start_postgresql,
}
LATENCY_SECONDS = 0.1
READY_SECONDS = 60.0


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port
    return port


@dataclass(slots=True)
class Servers:
    """Started once for all rounds, each with a port that it keeps over its deaths."""

    folder: Path
    running: dict[str, Running] = field(default_factory=dict)

    async def start(self, name: str, port: int | None = None) -> None:
        self.running[name] = await STARTS[name](self.folder / name, port)

    async def restart(self, name: str) -> None:
        await self.start(name, port_of(self.running[name].url))

    def fresh_event_store(self, store: str, folder: Path) -> str:
        """An empty one. Blocks."""
        if store == "sqlite":
            return f"sqlite:///{folder}/events.db"
        server, name = self.running["postgresql"].url, f"chaos_{uuid4().hex[:12]}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return server.rsplit("/", 1)[0] + f"/{name}"


@asynccontextmanager
async def servers(store: str) -> AsyncIterator[Servers]:
    """Those that a store needs, in a folder of their own."""
    folder = Path(tempfile.mkdtemp(prefix="app-manager-chaos-"))
    folder.chmod(0o755)  # PostgreSQL may run as another user
    started = Servers(folder)
    try:
        for name in STARTS:
            if name != "postgresql" or store == "postgresql":
                await started.start(name)
        yield started
    finally:
        for server in reversed(started.running.values()):
            await server.stop()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


@dataclass(slots=True)
class Estate:
    """The roles of one round. `event_store` is the log's own address, which only its server's death cuts off."""

    servers: Servers
    service: Service
    event_store: str
    database: str
    proxies: Mapping[str, TcpProxy]
    ports: Mapping[str, int]  # of each API process
    outages: list[Outage] = field(default_factory=list)
    fell: list[str] = field(default_factory=list)
    _turns: dict[str, asyncio.Lock] = field(default_factory=dict)
    _down: set[str] = field(default_factory=set)

    @property
    def apis(self) -> dict[str, str]:
        return {name: f"http://127.0.0.1:{port}" for name, port in self.ports.items()}

    # -- faults -------------------------------------------------------------------------------------------------------

    async def strike(self, fault: Fault) -> None:
        """Returns when the victim is there again. Faults of one victim follow one another."""
        loop = asyncio.get_running_loop()
        async with self._turns.setdefault(fault.victim, asyncio.Lock()):
            began = loop.time()
            if isinstance(fault.harm, Weather):
                self.proxies[fault.victim].turn(fault.harm, LATENCY_SECONDS)
                await asyncio.sleep(fault.seconds)
                self.proxies[fault.victim].turn(Weather.CLEAR)
            elif fault.victim in ROLES:
                await self._strike_role(fault.victim, fault.harm, fault.seconds)
            else:
                await self._strike_server(fault.victim, fault.harm, fault.seconds)
            self.outages.append(Outage(fault.victim, began, loop.time()))

    @asynccontextmanager
    async def absent(self, role: str) -> AsyncIterator[None]:
        """Killed for that long, and started again."""
        self._down.add(role)
        await self.service.kill(role)
        try:
            yield
        finally:
            await self.start(role)
            self._down.discard(role)

    async def _strike_role(self, role: str, harm: Harm, seconds: float) -> None:
        if harm is Harm.KILL:
            async with self.absent(role):
                await asyncio.sleep(seconds)
        else:
            process = self.service.processes[role]
            process.send_signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                process.send_signal(signal.SIGCONT)
        if role in self.ports:
            await until(lambda: self.serves(role), f"{role} serves again:\n{self.service.log(role)}", READY_SECONDS)

    async def _strike_server(self, name: str, harm: Harm, seconds: float) -> None:
        server = self.servers.running[name]
        if harm is Harm.KILL:
            await server.kill()
            await asyncio.sleep(seconds)
            await self.servers.restart(name)
        else:
            await server.pause()
            try:
                await asyncio.sleep(seconds)
            finally:
                await server.resume()

    # -- roles --------------------------------------------------------------------------------------------------------

    async def start(self, role: str) -> None:
        if role in self.ports:
            await self.service.start(role, PORT=str(self.ports[role]))
        else:
            await self.service.start(role)

    async def serves(self, api: str) -> bool:
        """Whether it takes requests: it may still wait for its event store, or for MongoDB."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.ports[api])
        except OSError:
            return False
        writer.close()
        return True

    async def watch(self) -> None:
        """Starts again, as a supervisor does, what ended by itself, and remembers that it did."""
        while True:
            for role, process in list(self.service.processes.items()):
                if process.returncode is not None and role not in self._down:
                    self.fell.append(f"{role} ended by itself with {process.returncode}:\n{self.service.log(role)}")
                    await self.start(role)
            await asyncio.sleep(0.2)

    def faults_told(self) -> list[str]:
        """What roles wrote of exceptions that nobody foresaw, by its last line. Reads files."""
        logs = {role: self.service.folder / f"{role}.log" for role in ROLES}
        return [
            f"{role}: {told}"
            for role, file in logs.items()
            if file.exists()
            for line in file.read_text(errors="replace").splitlines()
            if "Traceback" in line and (told := _unforeseen(line))
        ]


def _unforeseen(line: str) -> str | None:
    """MongoDB's client tells on its own that it has lost a connection: that is no fault."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if entry.get("event_type") == "pymongo.client":
        return None
    return f"{entry['timestamp']} {entry['message']}: {entry['error'].strip().splitlines()[-1]}"


@asynccontextmanager
async def estate(servers: Servers, store: str, *, stormy: bool = False, **settings: str) -> AsyncIterator[Estate]:
    """All roles, running and ready, on databases and queues of their own. Their logs stay in the folder after it."""
    database = f"chaos_{uuid4().hex[:12]}"
    folder = servers.folder / database
    folder.mkdir()
    event_store = await asyncio.to_thread(servers.fresh_event_store, store, folder)
    async with AsyncExitStack() as stack:
        proxies = {name: TcpProxy("127.0.0.1", port_of(server.url)) for name, server in servers.running.items()}
        sandbox, second = free_ports(2)
        proxies["sandbox"] = TcpProxy("127.0.0.1", sandbox)
        for proxy in proxies.values():
            await stack.enter_async_context(proxy)
        to = {name: proxy.listens if stormy else proxy.port for name, proxy in proxies.items()}
        service = Service.on(
            folder,
            mongodb=_mongodb(to["mongodb"], stormy),
            database=database,
            rabbitmq=f"amqp://guest:guest@127.0.0.1:{to['rabbitmq']}/",
            event_store=_at(event_store, to.get("postgresql")),
            SANDBOX_PORTAL_PORT=str(sandbox),
            SANDBOX_PORTAL_URL=f"http://127.0.0.1:{to['sandbox']}",
            PORTALS=json.dumps(
                {"blind": {"url": f"http://127.0.0.1:{to['sandbox']}/submit-blind", "delivery": "at_most_once"}}
            ),
            WORKER_METRICS_PORT="0",
            RELAY_METRICS_PORT="0",
            PROJECTOR_METRICS_PORT="0",
            **settings,
        )
        ports = {"api": int(service.settings["PORT"]), "api-2": second}
        on = Estate(servers, service, event_store, database, proxies, ports)
        stack.push_async_callback(service.end)
        await asyncio.gather(*(on.start(role) for role in ROLES))
        for api in ports:
            await until(lambda: _is_ready(on, api), f"{api} is ready:\n{service.log(api)}", READY_SECONDS)  # noqa: B023
        yield on


def _mongodb(port: int, stormy: bool) -> str:
    """A replica set tells its clients its own address: behind a proxy they must not follow it."""
    return f"mongodb://127.0.0.1:{port}/?" + ("directConnection=true" if stormy else "replicaSet=rs0")


def _at(event_store: str, port: int | None) -> str:
    if port is None or event_store.startswith("sqlite"):
        return event_store
    return event_store.replace(f":{port_of(event_store)}/", f":{port}/")


async def _is_ready(on: Estate, api: str) -> bool:
    try:
        async with aiohttp.ClientSession() as http, http.get(f"{on.apis[api]}/health/ready") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False
