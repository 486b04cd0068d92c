"""The HTTP adapter and a submission that goes wrong: not taken, or unknown (contract portals.md 2)."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from consumers.portals import Applied, Delivery, NotTaken, Unknown, http
from consumers.portals.http import HttpPortal
from domain.errors import StoreUnavailable
from tests.portal_servers import Recorder, outcome_of, read_request, self_signed, served, submit
from tests.submissions import Pdf, a_submission

# -- no connection: not taken -----------------------------------------------------------------------------------------


def a_closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_refused_connection_is_not_taken_and_unreachable() -> None:
    outcome = await submit(a_closed_port())
    assert isinstance(outcome, NotTaken)
    assert outcome.unreachable
    assert outcome.error_type == "ClientConnectorError"
    assert "Cannot connect" in outcome.reason


async def test_a_name_that_is_unknown_is_not_taken_but_no_sign_that_the_portal_is_down() -> None:
    outcome = await submit("http://portal.invalid/")
    assert isinstance(outcome, NotTaken)
    assert not outcome.unreachable
    assert outcome.error_type == "ClientConnectorDNSError"


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port whose queue is full, so that the next connection waits."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address[1]
        for filler in fillers:
            filler.close()


async def test_no_connection_in_time_is_not_taken_and_unreachable(full_port: int) -> None:
    outcome = await submit(full_port, timeout=0.3)
    assert isinstance(outcome, NotTaken)
    assert outcome.unreachable
    assert outcome.reason == "no connection in time"


async def test_a_connection_is_waited_for_a_part_of_a_long_limit_only(
    monkeypatch: pytest.MonkeyPatch, full_port: int
) -> None:
    monkeypatch.setattr(http, "CONNECT_SECONDS", 0.2)
    began = time.monotonic()
    outcome = await submit(full_port, timeout=30)
    assert time.monotonic() - began < 5
    assert isinstance(outcome, NotTaken)
    assert (outcome.unreachable, outcome.error_type) == (True, "ConnectionTimeoutError")


async def test_a_server_that_speaks_no_tls_is_not_taken() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with served(plain) as port:
        outcome = await submit(f"https://127.0.0.1:{port}/")
    assert isinstance(outcome, NotTaken)
    assert not outcome.unreachable


@pytest.fixture
def own_certificate(tmp_path: Path) -> ssl.SSLContext:
    return self_signed(tmp_path)


async def test_a_certificate_that_nobody_vouches_for_is_not_taken(own_certificate: ssl.SSLContext) -> None:
    recorder = Recorder()
    async with served(recorder, own_certificate) as port:
        outcome = await submit(f"https://127.0.0.1:{port}/")
    assert isinstance(outcome, NotTaken)
    assert outcome.error_type == "ClientConnectorCertificateError"
    assert recorder.requests == []


async def test_a_tls_handshake_without_an_end_is_not_taken() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with served(silent) as port:
        outcome = await submit(f"https://127.0.0.1:{port}/", timeout=0.3)
    assert isinstance(outcome, NotTaken)


# -- the request has begun to leave: unknown --------------------------------------------------------------------------


async def test_no_answer_in_time_is_unknown_and_ends_at_the_limit() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.Event().wait()

    began = time.monotonic()
    assert await outcome_of(silent, timeout=1.0) == Unknown("no answer within 1 s", "TimeoutError")
    assert 1 <= time.monotonic() - began < 20


async def test_an_answer_that_trickles_ends_at_the_limit() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.01)

    assert await outcome_of(trickle, timeout=1.0) == Unknown("no answer within 1 s", "TimeoutError")


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Le", b'HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"re'],
)
async def test_an_answer_that_breaks_off_is_unknown(answer: bytes) -> None:
    async def breaking_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)

    assert isinstance(await outcome_of(breaking_off), Unknown)


async def test_a_connection_that_is_reset_is_unknown() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.transport.abort()

    assert isinstance(await outcome_of(reset), Unknown)


async def test_what_is_not_http_is_unknown_and_the_url_is_not_told() -> None:
    async def gibberish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"220 smtp ready\r\n\r\n")

    async with served(gibberish) as port:
        outcome = await submit(f"http://127.0.0.1:{port}/?token=secret")
    assert isinstance(outcome, Unknown)
    assert "secret" not in outcome.reason


async def test_a_connection_that_breaks_while_the_cv_leaves_is_unknown() -> None:
    async def impatient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(100)
        writer.transport.abort()

    async with served(impatient) as port:
        outcome = await submit(port, a_submission(cv=Pdf(b"x" * 10_000_000)))
    assert isinstance(outcome, Unknown)


async def test_a_kept_connection_that_the_server_closes_is_unknown_and_nothing_is_sent_twice() -> None:
    received = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers the first request of a connection and closes it when the second has come."""
        received.append(await read_request(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        received.append(await read_request(reader))

    async with served(once) as port:
        entry = {"url": f"http://127.0.0.1:{port}/", "timeout": 5, "delivery": "at_least_once"}
        async with HttpPortal(entry) as portal:
            assert await portal.submit(a_submission()) == Applied(None)
            assert isinstance(await portal.submit(a_submission()), Unknown)
    assert len(received) == 2


async def test_a_portal_without_keys_gets_a_fresh_connection_each_time() -> None:
    connections = []

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while not reader.at_eof():
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    for delivery, expected in ((Delivery.AT_MOST_ONCE, 3), (Delivery.AT_LEAST_ONCE, 1)):
        connections.clear()
        async with served(counting) as port:
            entry = {"url": f"http://127.0.0.1:{port}/", "timeout": 5, "delivery": delivery}
            async with HttpPortal(entry) as portal:
                for _ in range(3):
                    assert await portal.submit(a_submission()) == Applied(None)
        assert len(connections) == expected


async def test_a_cancelled_submission_is_cancelled() -> None:
    arrived = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        arrived.set()
        await asyncio.Event().wait()

    async with served(silent) as port:
        task = asyncio.create_task(submit(port))
        await asyncio.wait_for(arrived.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# -- a CV that cannot be read -----------------------------------------------------------------------------------------


async def test_a_cv_that_cannot_be_begun_is_the_stores_error_and_nothing_is_sent() -> None:
    recorder = Recorder()
    async with served(recorder) as port:
        with pytest.raises(StoreUnavailable):
            await submit(port, a_submission(cv=Pdf(b"x" * 5000, StoreUnavailable("gone"))))
    assert recorder.requests == []


async def test_a_cv_that_breaks_off_half_way_is_unknown() -> None:
    async with served(Recorder()) as port:
        outcome = await submit(port, a_submission(cv=Pdf(b"x" * 5000, StoreUnavailable("gone"), fails_at=2000)))
    assert isinstance(outcome, Unknown)


async def test_a_cv_store_that_hangs_is_not_taken() -> None:
    class Stuck(Pdf):
        async def chunks(self) -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

    async with served(Recorder()) as port:
        outcome = await submit(port, a_submission(cv=Stuck(b"x")), timeout=0.2)
    assert outcome == NotTaken("the CV could not be read in time", "TimeoutError")
