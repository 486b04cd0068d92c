"""MongoDB stopped under load: submissions and work go on, reads are refused honestly, and all is shown once it is back.

The time is scaled: MONGODB_AWAY_SECONDS=600 is the ten minutes of the long form.
"""

import asyncio
import os
import time
from collections import Counter
from pathlib import Path

import pytest

from infra.local_servers import start_mongodb
from tests.end_to_end.load import all_applied, ended_within, load, reached
from tests.end_to_end.service import Client, Service, until

AWAY_SECONDS = float(os.environ.get("MONGODB_AWAY_SECONDS", "12"))
READ_SECONDS = 12.0  # until a read is refused: the client looks for a server for five, and the machine may be busy


@pytest.mark.timeout(240 + 2 * AWAY_SECONDS)
async def test_submissions_go_on_while_mongodb_is_away(
    servers_folder: Path, tmp_path: Path, mongo_database: str, rabbitmq_url: str, sqlite_url: str
) -> None:
    folder = servers_folder / f"mongodb-{mongo_database}"
    mongodb = await start_mongodb(folder)
    service = Service.on(
        tmp_path, mongodb=mongodb.url, database=mongo_database, rabbitmq=rabbitmq_url, event_store=sqlite_url
    )
    try:
        async with service.running() as client:
            async with load(client, pause=0.05 if AWAY_SECONDS < 60 else 0.5) as ledger:
                await reached(ledger, 20)
                port = int(mongodb.url.split(":")[2].split("/")[0])
                await mongodb.stop()
                before, reads = len(ledger.answered), Counter[int]()
                since = time.monotonic()
                while time.monotonic() - since < AWAY_SECONDS:
                    reads[await refused_read(client)] += 1
                    await asyncio.sleep(0.5)
                assert len(ledger.answered) - before > AWAY_SECONDS
                assert not await client.ready()
                await until(lambda: taken_by_portal(client, before), "work goes on", 30)
                mongodb = await start_mongodb(folder, port)
                back = time.monotonic()
                await reached(ledger, 20)
            assert ledger.refusals == {}
            assert set(reads) == {503}
            count = len(ledger.answered)
            await until(lambda: all_applied(client, count), f"all {count} are applied and listed", ended_within(count))
            print(f"{count} submissions, {sum(reads.values())} reads refused;", end=" ")
            print(f"all applied and listed {time.monotonic() - back:.1f} s after MongoDB was back")
            assert (await client.portal("/summary"))["taken_twice"] == 0
    finally:
        await mongodb.stop()


async def refused_read(client: Client) -> int:
    """Its status, once it has said honestly and in time that it cannot be answered."""
    began = time.monotonic()
    async with client.http.get(f"{client.url}/applied", headers=client.headers) as response:
        body = await response.json()
    assert (response.status, body["code"]) in {(503, "ERR_5002"), (503, "ERR_5003")}
    assert response.headers["Retry-After"] == "5"
    assert time.monotonic() - began < READ_SECONDS
    return response.status


async def taken_by_portal(client: Client, count: int) -> bool:
    """Workers need MongoDB for CVs only."""
    return int((await client.portal("/summary"))["taken"]) > count
