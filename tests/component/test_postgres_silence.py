"""A PostgreSQL server that falls silent behind a network which still acknowledges what it is sent."""

import asyncio
from urllib.parse import urlsplit

import pytest

from domain.errors import StoreUnavailable
from infra import postgres_log
from infra.postgres_log import PostgresLog
from tests.tcp_proxy import TcpProxy, Weather

CONNECTIONS = 2


async def test_no_call_waits_for_ever_and_no_connection_is_lost(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_log, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(postgres_log, "CHECK_SECONDS", 0.2)
    there = urlsplit(postgresql_url)
    assert there.hostname
    assert there.port
    async with TcpProxy(there.hostname, there.port) as proxy:
        log = PostgresLog(proxy.through(postgresql_url), CONNECTIONS)
        await asyncio.to_thread(log.open)
        try:
            assert await asked_at_once(log) == [0] * CONNECTIONS
            proxy.turn(Weather.HALF_OPEN)
            async with asyncio.timeout(10):
                assert await asked_at_once(log) == ["The event store cannot be reached"] * CONNECTIONS
            proxy.turn(Weather.CLEAR)
            async with asyncio.timeout(20):
                while await asked_at_once(log) != [0] * CONNECTIONS:
                    await asyncio.sleep(0.1)
        finally:
            await asyncio.to_thread(log.close)


async def asked_at_once(log: PostgresLog) -> list[int | str]:
    """Over all connections: the head, or why there is none."""

    def ask() -> int | str:
        try:
            return log.head()
        except StoreUnavailable as error:
            return str(error)

    return await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(CONNECTIONS)))
