"""RabbitMQ stopped under load: every submission answers 200, and all end once it is back."""

import asyncio
import os
from pathlib import Path

import pytest

from infra.local_servers import start_rabbitmq
from tests.end_to_end.load import load, reached
from tests.end_to_end.service import Service

AWAY_SECONDS = float(os.environ.get("BROKER_AWAY_SECONDS", "8"))


@pytest.mark.timeout(240)
async def test_submissions_go_on_while_the_broker_is_away(
    servers_folder: Path, tmp_path: Path, mongodb_uri: str, mongo_database: str, sqlite_url: str
) -> None:
    folder = servers_folder / f"rabbitmq-{mongo_database}"
    broker = await start_rabbitmq(folder)
    service = Service.on(
        tmp_path, mongodb=mongodb_uri, database=mongo_database, rabbitmq=broker.url, event_store=sqlite_url
    )
    try:
        async with service.running() as client:
            async with load(client) as ledger:
                await reached(ledger, 20)
                port = int(broker.url.rsplit(":", 1)[1].rstrip("/"))
                await broker.stop()
                before = len(ledger.answered)
                await asyncio.sleep(AWAY_SECONDS)  # this long it is away
                assert len(ledger.answered) - before > AWAY_SECONDS
                assert await client.ready()
                broker = await start_rabbitmq(folder, port)
                await reached(ledger, 20)
            assert ledger.refusals == {}
            ended = await client.all_ended(ledger.answered, seconds=90)
            assert set(ended.values()) == {"success"}
            assert (await client.portal("/summary"))["taken_twice"] == 0
    finally:
        await broker.stop()
