"""The append path against the library's one save per event, and two processes that append to one SQLite log."""

import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from domain.appending import recorded_events
from domain.application_events import ApplicationSubmitted
from domain.event import Cause, Owner
from domain.job import Job
from domain.ports import Append
from infra.clock import SystemClock
from infra.event_log import open_event_log
from infra.log_database import LogAdapter
from infra.mapper import EventMapper
from infra.postgres_log import PostgresLog
from infra.sqlite_log import SqliteLog
from tests.bench.report import Row

CLOCK = SystemClock()
EVENTS, LIBRARY_EVENTS, CALLERS = 20_000, 2_000, 256
TWO_PROCESSES_SECONDS = 4.0


def submission() -> Append:
    at = CLOCK.now()
    job = Job(title="Baker", company_name="Bread & Co", portal="sandbox", location="Graz", description="We bake. " * 20)
    happened = ApplicationSubmitted(jobs=(job,))
    cause, owner = Cause("user:ada", uuid4().hex), Owner("ada", 1, at)
    return Append(recorded_events(CLOCK.new_id(at), 0, [happened], at, cause, owner, CLOCK))


async def ours(url: str) -> float:
    """Events a second through the group-commit writer."""
    async with open_event_log(url) as store:
        left = iter(range(EVENTS))

        async def caller() -> None:
            for _ in left:
                await store.log.append(submission())

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return EVENTS / (time.perf_counter() - began)


def library(adapter: LogAdapter) -> float:
    """Events a second by the recorder's own `insert_events`, one event each."""
    adapter.open()
    recorder = adapter._writer if isinstance(adapter, SqliteLog) else adapter._recorder  # type: ignore[attr-defined]
    stored = [EventMapper().to_stored_event(submission().events[0]) for _ in range(LIBRARY_EVENTS)]
    began = time.perf_counter()
    for one in stored:
        recorder.insert_events([one])
    rate = LIBRARY_EVENTS / (time.perf_counter() - began)
    adapter.close()
    return rate


async def sqlite_ratio() -> Sequence[Row]:
    with tempfile.TemporaryDirectory() as folder:
        alone = await asyncio.to_thread(library, SqliteLog(Path(folder) / "library.db", 2))
        together = await ours(f"sqlite:///{folder}/ours.db")
    conditions = f"{together:,.0f} against {alone:,.0f} events/s, {CALLERS} callers"
    return [Row("append_sqlite_ratio", together / alone, "ratio", "≥ 4", conditions)]


async def postgres_ratio(fresh_url: str, other_url: str) -> Sequence[Row]:
    alone = await asyncio.to_thread(library, PostgresLog(fresh_url, 2))
    together = await ours(other_url)
    conditions = f"{together:,.0f} against {alone:,.0f} events/s, {CALLERS} callers"
    return [Row("append_postgres_ratio", together / alone, "ratio", "≥ 10", conditions)]


def _append_for(url: str, seconds: float, count: "multiprocessing.Queue[int]") -> None:
    async def run() -> int:
        done = 0
        async with open_event_log(url) as store:
            end = time.perf_counter() + seconds

            async def caller() -> None:
                nonlocal done
                while time.perf_counter() < end:
                    await store.log.append(submission())
                    done += 1

            await asyncio.gather(*(caller() for _ in range(32)))
        return done

    count.put(asyncio.run(run()))


def _rates(processes: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        counts: multiprocessing.Queue[int] = multiprocessing.Queue()
        arguments = (f"sqlite:///{folder}/events.db", TWO_PROCESSES_SECONDS, counts)
        running = [multiprocessing.Process(target=_append_for, args=arguments) for _ in range(processes)]
        for process in running:
            process.start()
        done = [counts.get(timeout=60) for _ in running]
        for process in running:
            process.join()
        return [count / TWO_PROCESSES_SECONDS for count in done]


async def two_processes_ratio() -> Sequence[Row]:
    [alone] = await asyncio.to_thread(_rates, 1)
    both = await asyncio.to_thread(_rates, 2)
    conditions = f"{min(both):,.0f} and {max(both):,.0f} events/s together, {alone:,.0f} alone, 32 callers each"
    return [Row("append_two_processes_ratio", min(both) / alone, "ratio", "≥ 0.2", conditions)]
