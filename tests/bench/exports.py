"""What a large export costs: its rate, the API's memory, and what another client feels meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from infra.mongo import Mongo
from tests.bench.csv_download import Downloaded, in_own_process
from tests.bench.report import Row
from tests.bench.seeding import seed
from tests.bench.servers import Servers
from tests.bench.submit import service
from tests.end_to_end.service import Client, Service, token

APPLIED, FAILED = 800_000, 200_000
EXCEL_ROWS = 100_000
NEIGHBOUR_PER_SECOND = 100
MEMORY_LOOKS_A_SECOND = 20
SLOW_USERS, SLOW_ROWS, SLOW_EACH, SLOW_SECONDS = 50, 6_000, 5, 30
SLOW_BYTES_A_SECOND = 64 * 1024


@dataclass(slots=True)
class Neighbour:
    """Another user, who asks for a status a hundred times a second over one connection, and waits for each answer."""

    client: Client
    latencies: list[float] = field(default_factory=list)

    async def ask_until(self, ended: asyncio.Event) -> None:
        application_id = await self.client.submit("Baker")
        parts = urlsplit(self.client.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        request = (
            f"GET /applications/{application_id}/status HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Authorization: Bearer {token(self.client.user)}\r\n\r\n"
        ).encode()
        began = time.perf_counter()
        while not ended.is_set():
            due = began + len(self.latencies) / NEIGHBOUR_PER_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            sent = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"the status was refused: {head.decode()}")
            length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            self.latencies.append(time.perf_counter() - sent)
        writer.close()

    def quantile_ms(self, q: float) -> float:
        return 1000 * sorted(self.latencies)[int(len(self.latencies) * q)]

    @property
    def told(self) -> str:
        return f"{len(self.latencies):,} reads, p50 {self.quantile_ms(0.5):.1f}, max {self.quantile_ms(0.9999):.0f} ms"


@dataclass(slots=True)
class Memory:
    """MiB of one process: at first, and at most."""

    process_id: int
    before: float = 0.0
    most: float = 0.0

    def __post_init__(self) -> None:
        self.before = self.most = self._now()

    async def watch_until(self, ended: asyncio.Event) -> None:
        while not ended.is_set():
            self.most = max(self.most, self._now())
            await asyncio.sleep(1 / MEMORY_LOOKS_A_SECOND)

    def _now(self) -> float:
        return int(Path(f"/proc/{self.process_id}/statm").read_text().split()[1]) * 4096 / 2**20


async def csv(on: Servers) -> Sequence[Row]:
    """One user's million rows as CSV from one API process, while another user reads statuses."""
    rows = APPLIED + FAILED
    async with one_api(on, APPLIED, FAILED) as (made, client):
        got, neighbour, memory = await beside(made, client, "/export/csv?stream=true")
    if got.lines != rows + 1:
        raise RuntimeError(f"{got.lines:,} lines came, {rows + 1:,} were due")
    conditions = (
        f"CSV stream of {rows:,} rows ({got.bytes / 2**20:,.0f} MiB) of one user, one API process and MongoDB (cache "
        f"0.25 GB), {NEIGHBOUR_PER_SECOND} status reads/s by another client meanwhile"
    )
    growth = f"{conditions}; {memory.before:.0f} MiB before"
    return [
        Row("export_csv_rows_per_s", rows / got.seconds, "rows/s", "≥ 20000", conditions),
        Row("export_rss_growth_mib", memory.most - memory.before, "MiB", "< 50", growth),
        Row("export_neighbour_p99_ms", neighbour.quantile_ms(0.99), "ms", "< 100", f"{conditions}; {neighbour.told}"),
    ]


async def excel(on: Servers) -> Sequence[Row]:
    """The same with as many rows as an Excel file has at most, unless it is told otherwise."""
    async with one_api(on, EXCEL_ROWS, 0) as (made, client):
        got, neighbour, memory = await beside(made, client, "/export/excel")
    conditions = (
        f"Excel file of {EXCEL_ROWS:,} rows ({got.bytes / 2**20:.1f} MiB), one API process and MongoDB, "
        f"{NEIGHBOUR_PER_SECOND} status reads/s by another client meanwhile; the API grew by "
        f"{memory.most - memory.before:.1f} MiB"
    )
    return [
        Row("export_excel_rows_per_s", EXCEL_ROWS / got.seconds, "rows/s", "≥ 5000", conditions),
        Row("excel_neighbour_p99_ms", neighbour.quantile_ms(0.99), "ms", "< 100", f"{conditions}; {neighbour.told}"),
    ]


async def slow(on: Servers) -> Sequence[Row]:
    """Memory of one API process that many ask for exports at once, each of whom takes a little at a time."""
    users = [f"slow-{number}" for number in range(SLOW_USERS)]
    async with one_api(on, SLOW_ROWS, 0, users) as (made, client):
        memory, ended = Memory(made.processes["api"].pid), asyncio.Event()
        watching = asyncio.create_task(memory.watch_until(ended))
        took = await asyncio.gather(*(_take_slowly(client, user) for user in users for _ in range(SLOW_EACH)))
        ended.set()
        await watching
    accepted = [size for status, size in took if status == 200]
    statuses = {status: [one for one, _ in took].count(status) for status in sorted({one for one, _ in took})}
    conditions = (
        f"{len(took)} CSV streams of {SLOW_ROWS:,} rows asked for at once by {SLOW_USERS} users over one API process, "
        f"each reader takes {SLOW_BYTES_A_SECOND // 1024} KiB a second for {SLOW_SECONDS} s; answered {statuses}, "
        f"{min(accepted, default=0) / 2**20:.1f} MiB at least were read of each; {memory.before:.0f} MiB before"
    )
    return [Row("slow_exports_rss_growth_mib", memory.most - memory.before, "MiB", "< 100", conditions)]


async def _take_slowly(client: Client, user: str) -> tuple[int, int]:
    """The status, and how many bytes were read in time."""
    parts = urlsplit(client.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=4096)
    asked = (
        f"GET /export/csv?stream=true HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token(user)}\r\n\r\n"
    )
    writer.write(asked.encode())
    status = int((await reader.readuntil(b"\r\n\r\n")).split()[1])
    size, until = 0, time.perf_counter() + SLOW_SECONDS
    while status == 200 and time.perf_counter() < until:
        size += len(await reader.read(SLOW_BYTES_A_SECOND // 4))
        await asyncio.sleep(0.25)
    writer.transport.abort()
    return status, size


@asynccontextmanager
async def one_api(
    on: Servers, applied_count: int, failed_count: int, users: Sequence[str] = ("rows",)
) -> AsyncIterator[tuple[Service, Client]]:
    """With so many rows of each user."""
    async with (
        service(on, on.fresh_sqlite(), "api", "projector") as (made, client),
        Mongo(on.mongodb.url, made.settings["MONGODB_DATABASE"]) as mongo,
    ):
        for user in users:
            await seed(mongo, user, applied_count=applied_count, failed_count=failed_count)
        try:
            yield made, client
        finally:
            await mongo.client.drop_database(mongo.database.name)


async def beside(made: Service, client: Client, path: str) -> tuple[Downloaded, Neighbour, Memory]:
    """A download, and what the neighbour and the API's memory say meanwhile."""
    neighbour, memory, ended = Neighbour(client), Memory(made.processes["api"].pid), asyncio.Event()
    watching = asyncio.gather(neighbour.ask_until(ended), memory.watch_until(ended))
    try:
        got = await in_own_process(f"{client.url}{path}", token("rows"))
    finally:
        ended.set()
        await watching
    return got, neighbour, memory
