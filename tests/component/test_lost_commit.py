"""PostgreSQL's connection is lost inside a commit: what became of it is found out from the log, not guessed."""

import time
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from domain.errors import StoreTimeout, StoreUnavailable
from infra.event_log import open_event_log
from infra.log_database import Session
from infra.postgres_log import IDLE_TIMEOUT_MS
from tests.contract.test_event_log import some
from tests.tcp_proxy import TcpProxy


def proxy_of(url: str, *, deliver_first: bool) -> TcpProxy:
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    return TcpProxy(parts.hostname, parts.port, deliver_first=deliver_first)


async def test_one_that_was_done_is_answered_as_done(postgresql_url: str) -> None:
    stream = uuid4()
    async with (
        proxy_of(postgresql_url, deliver_first=True) as proxy,
        open_event_log(proxy.through(postgresql_url)) as store,
    ):
        proxy.cut_at = b"COMMIT"
        position = await store.log.append(some(stream, 1))
        assert proxy.cuts == 1
        assert [e.position for e in await store.log.read_stream(stream)] == [position]


async def test_one_that_was_not_done_is_told_and_can_be_tried_again(postgresql_url: str) -> None:
    stream = uuid4()
    async with (
        proxy_of(postgresql_url, deliver_first=False) as proxy,
        open_event_log(proxy.through(postgresql_url)) as store,
    ):
        proxy.cut_at = b"COMMIT"
        with pytest.raises(StoreUnavailable):
            await store.log.append(some(stream, 1))
        assert proxy.cuts == 1
        assert await store.log.append(some(stream, 1)) > 0


async def test_connections_that_died_are_replaced(postgresql_url: str) -> None:
    async with (
        proxy_of(postgresql_url, deliver_first=False) as proxy,
        open_event_log(proxy.through(postgresql_url)) as store,
    ):
        proxy.cut_at = b"LOCK TABLE"
        with pytest.raises(StoreUnavailable):
            await store.log.append(some(uuid4(), 1))
        assert proxy.cuts == 1
        await store.log.append(some(uuid4(), 1))


async def test_a_transaction_that_stood_still_is_undone_and_may_be_tried_again(postgresql_url: str) -> None:
    """The server ends it: so does a process, or a server, that was stopped for a moment."""

    def stand_still(session: Session) -> None:
        session.execute("CREATE TABLE IF NOT EXISTS stood (here INTEGER)")
        time.sleep(2 * IDLE_TIMEOUT_MS / 1000)
        session.execute("INSERT INTO stood VALUES (1)")

    async with open_event_log(postgresql_url) as store:
        with pytest.raises(StoreTimeout):
            await store.database.transaction(stand_still)
        assert await store.log.append(some(uuid4(), 1)) == 1
        assert await store.database.transaction(lambda session: session.execute("SELECT to_regclass('stood')")) == [
            (None,)
        ]
