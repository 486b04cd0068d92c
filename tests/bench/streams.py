"""How soon clients have a change, and what memory they take: 2,000 of them on one API process."""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.bench.report import Row
from tests.bench.servers import Servers
from tests.bench.stream_load import Orders, Seen
from tests.bench.submit import service
from tests.end_to_end.service import Service

USERS, CLIENTS_OF_USER = 100, 20  # as many as one user may have: each change goes to all of his
CHANGES, WARM_UP, PER_SECOND = 4_000, 600, 200.0


async def measure(on: Servers) -> Sequence[Row]:
    event_store = on.fresh_sqlite()
    async with service(on, event_store, "api", "projector") as (made, client):
        orders = Orders(client.url, event_store, USERS, CLIENTS_OF_USER, CHANGES, WARM_UP, PER_SECOND)
        seen = await _in_own_process(orders)
        mebibytes = _peak(made)
    if seen.lacking:
        raise RuntimeError(f"{seen.lacking} updates were not told")
    conditions = (
        f"{USERS * CLIENTS_OF_USER:,} clients of {USERS} users, half of them WebSockets; "
        f"{seen.made_per_second:,.0f} changes/s, {seen.told:,} updates told"
    )
    delays = f"from the event to the client, p50 {seen.p50_ms:.0f}, longest {seen.longest_ms:.0f}; projector running"
    return [
        Row("stream_p99_ms", seen.p99_ms, "ms", "< 500", f"{conditions}; {delays}"),
        Row("stream_rss_mib", mebibytes, "MiB", "< 400", f"{conditions}; the API process at its largest"),
    ]


async def _in_own_process(orders: Orders) -> Seen:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.stream_load", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate(json.dumps(asdict(orders)).encode())
    if process.returncode:
        raise RuntimeError("the clients have failed")
    return Seen(**json.loads(printed))


def _peak(made: Service) -> float:
    status = Path(f"/proc/{made.processes['api'].pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024
