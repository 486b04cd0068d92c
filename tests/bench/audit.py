"""Evidence: how fast a log is verified, and what sealing it costs those who append."""

import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from uuid import UUID

from api.cli.audit.verify import verify_log
from consumers.sealer import run_sealer
from infra.checkpoints import CheckpointFolder, Line
from infra.event_log import open_event_log
from infra.mapper import EventMapper
from infra.seals import Checkpoint, sealed
from infra.settings import Settings
from infra.sqlite_log import SqliteLog
from tests.bench.append import ours, submission
from tests.bench.report import Row
from tests.builders import an_application
from tests.evidence import AT, KEY, SIGNING_KEY

APPLICATIONS, OF_A_CHECKPOINT = 20_000, 1_000
ROUNDS = 3


def seeded(path: Path) -> int:
    """Applications that were submitted, attempted and applied; how many events they are."""
    to_stored, log = EventMapper().to_stored_event, SqliteLog(path, 2)
    story = an_application().submitted().started().attempted(1).applied(1).succeeded()
    count = 0
    log.open()
    try:
        for begin in range(0, APPLICATIONS, 100):
            with log.appending() as session:
                for number in range(begin, begin + 100):
                    story_id = UUID(int=story.id.int + number)
                    events = an_application(story_id).then(*story).recorded()
                    session.insert([to_stored(one) for one in events])
                    count += len(events)
        return count
    finally:
        log.close()


def checkpoints_over(log: SqliteLog) -> list[Line]:
    made: list[Checkpoint] = []
    while events := log.select_after(made[-1].position if made else 0, OF_A_CHECKPOINT):
        made.append(sealed(made[-1] if made else None, events, KEY, AT))
    return [Line(one.line, f"line {number}") for number, one in enumerate(made, 1)]


def verified(folder: Path) -> tuple[int, int, float]:
    """Events, checkpoints, and events a second."""
    count = seeded(folder / "events.db")
    log = SqliteLog(folder / "events.db", 2)
    log.open()
    try:
        lines = checkpoints_over(log)
        began = time.perf_counter()
        body = verify_log(log, lines, {KEY.public.id: KEY.public}, "the log")
        rate = count / (time.perf_counter() - began)
        assert body["ok"], body["listed"]
        assert body["sealed_events"] == count
        return count, len(lines), rate
    finally:
        log.close()


async def verify() -> Sequence[Row]:
    with tempfile.TemporaryDirectory() as folder:
        count, checkpoints, rate = await asyncio.to_thread(verified, Path(folder))
    conditions = f"{count:,} events of {APPLICATIONS:,} applications on SQLite, {checkpoints} checkpoints, one process"
    return [Row("audit_verify_eps", rate, "events/s", "≥ 50000", conditions)]


def _seal(url: str, folder: str) -> None:
    """As the relay does, in a process of its own."""
    settings = Settings(audit_checkpoint_dir=Path(folder) / "audit", audit_signing_key=Path(folder) / "key.pem")

    async def run() -> None:
        async with open_event_log(url) as store:
            await run_sealer(store, settings)

    asyncio.run(run())


@contextmanager
def sealing(url: str, folder: str) -> Iterator[CheckpointFolder]:
    (Path(folder) / "key.pem").write_text(SIGNING_KEY)
    process = multiprocessing.get_context("spawn").Process(target=_seal, args=(url, folder), daemon=True)
    process.start()
    try:
        yield CheckpointFolder(Path(folder) / "audit")
    finally:
        process.kill()
        process.join()


async def appended(*, sealed_too: bool) -> float:
    """Events a second."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/events.db"
        if not sealed_too:
            return await ours(url)
        with sealing(url, folder) as checkpoints:
            await _begun(url, checkpoints)
            rate = await ours(url)
            last = await asyncio.to_thread(checkpoints.last)
            assert last is not None, "it has sealed meanwhile"
            return rate


async def _begun(url: str, checkpoints: CheckpointFolder) -> None:
    """Until the sealer has found the first event."""
    async with open_event_log(url) as store:
        await store.log.append(submission())
        while await asyncio.to_thread(checkpoints.last) is None:
            await asyncio.sleep(0.05)


async def chain_ratio() -> Sequence[Row]:
    """In turn, so that both meet the same machine."""
    rates = [(await appended(sealed_too=False), await appended(sealed_too=True)) for _ in range(ROUNDS)]
    without, with_chain = map(median, zip(*rates, strict=True))
    conditions = f"{with_chain:,.0f} against {without:,.0f} events/s on SQLite, sealed by another process"
    return [Row("append_chain_ratio", with_chain / without, "ratio", "≥ 0.9", conditions)]
