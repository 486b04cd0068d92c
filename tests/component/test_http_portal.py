"""The HTTP adapter against small servers that do exactly one thing (contract portals.md 2)."""

import asyncio
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import orjson
import pytest

from consumers.portals import Applied, Delivery, NotTaken, Outcome, Refused, Submission, Unknown, http
from consumers.portals.http import HttpPortal
from domain.errors import StoreUnavailable
from tests.submissions import Pdf, a_submission

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on a free port that runs the script for each connection."""
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        running.add(task)
        try:
            await script(reader, writer)
        except (asyncio.CancelledError, OSError):
            pass
        finally:
            running.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    """Headers in lower case, and the whole body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    headers = {name.lower(): value for name, value in headers.items()}
    return headers, await reader.readexactly(int(headers["content-length"]))


def answering(status: str, body: bytes = b"", *headers: str) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode("latin-1") + body)
        await writer.drain()

    return script


async def submit(
    url: str | int, submission: Submission | None = None, *, timeout: float = 5, delivery: str = "at_least_once"
) -> Outcome:
    url = f"http://127.0.0.1:{url}/jobs" if isinstance(url, int) else url
    entry = {"adapter": "http", "url": url, "timeout": timeout, "delivery": delivery}
    async with HttpPortal(entry) as portal:
        return await portal.submit(submission or a_submission())


async def outcome_of(script: Script, *, timeout: float = 5) -> Outcome:
    async with served(script) as port:
        return await submit(port, timeout=timeout)


# -- what is sent -----------------------------------------------------------------------------------------------------


class Recorder:
    """Answers 200 and keeps what came."""

    def __init__(self, *headers: str) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self._head = "\r\n".join(["HTTP/1.1 200 OK", "Content-Length: 17", *headers, "", ""]).encode()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            self.requests.append(await read_request(reader))
            writer.write(self._head + b'{"reference":"R"}')


async def test_a_job_without_a_cv_is_sent_as_json() -> None:
    recorder = Recorder()
    async with served(recorder) as port:
        await submit(port, a_submission(correlation_id="trace-1", traceparent="00-a-b-01"))
    [(headers, body)] = recorder.requests
    assert headers["content-type"] == "application/json"
    assert headers["idempotency-key"] == "entry-1-1"
    assert headers["x-correlation-id"] == "trace-1"
    assert headers["traceparent"] == "00-a-b-01"
    assert orjson.loads(body) == {
        "entry_id": "entry-1",
        "application_id": "entry",
        "job": {"title": "Baker", "company_name": "Mill & Sons", "skills_required": ["Bread", "Rye"]},
        "documents": {"resume_optimized": None, "cover_letter": {"subject": "Baker"}},
    }


async def test_headers_that_have_no_value_are_left_out() -> None:
    recorder = Recorder()
    async with served(recorder) as port:
        await submit(port)
    [(headers, _)] = recorder.requests
    assert not {"x-correlation-id", "traceparent", "cookie"} & set(headers)


async def test_a_cookie_of_one_users_answer_does_not_come_with_the_next_submission() -> None:
    recorder = Recorder("Set-Cookie: session=of-one-user; Path=/")
    async with served(recorder) as port, HttpPortal({"url": f"http://localhost:{port}/", "timeout": 5}) as portal:
        for _ in range(2):
            assert await portal.submit(a_submission()) == Applied("R")
    assert ["cookie" in headers for headers, _ in recorder.requests] == [False, False]


async def test_a_job_with_a_cv_is_sent_as_a_form_and_each_attempt_sends_the_same_bytes() -> None:
    recorder = Recorder()
    pdf = b"%PDF-1.7 " + bytes(range(256)) * 200
    async with served(recorder) as port:
        await submit(port, a_submission(cv=Pdf(pdf)))
        await submit(port, a_submission(cv=Pdf(pdf)))
    [(headers, body), (_, again)] = recorder.requests
    kind, boundary = headers["content-type"].split("; boundary=")
    first, second = body.removesuffix(f"\r\n--{boundary}--\r\n".encode()).split(f"--{boundary}\r\n".encode())[1:]
    assert kind == "multipart/form-data"
    head, content = first.split(b"\r\n\r\n", 1)
    assert head == b'Content-Disposition: form-data; name="submission"\r\nContent-Type: application/json'
    assert orjson.loads(content)["entry_id"] == "entry-1"
    head, content = second.split(b"\r\n\r\n", 1)
    assert head == b'Content-Disposition: form-data; name="cv"; filename="cv.pdf"\r\nContent-Type: application/pdf'
    assert content == pdf
    assert again == body


# -- what the answers mean --------------------------------------------------------------------------------------------

APPLIED = Applied(None)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        ("200 OK", b'{"reference": "R-1"}', Applied("R-1")),
        ("201 Created", b"thank you", APPLIED),
        ("202 Accepted", b'{"reference": 7}', APPLIED),
        ("204 No Content", b"", APPLIED),
        ("299 Odd", b"[1]", APPLIED),
        ("409 Conflict", b'{"reference": "R-1"}', Applied("R-1")),
        ("409 Conflict", b'{"message": "in use"}', Unknown("409 Conflict")),
        ("400 Bad Request", b'{"message": "No title"}', Refused("No title")),
        ("404 Not Found", b"<html>", Refused("404 Not Found")),
        ("422 Unprocessable Entity", b'{"message": 5}', Refused("422 Unprocessable Entity")),
        ("499 Odd", b'{"message": ""}', Refused("499 Odd")),
        ("410", b"", Refused("410")),
        ("302 Found", b"", Refused("302 Found (redirects are not followed)")),
        ("304 Not Modified", b"", Refused("304 Not Modified (redirects are not followed)")),
        ("408 Request Timeout", b"", NotTaken("408 Request Timeout")),
        ("425 Too Early", b"", NotTaken("425 Too Early")),
        ("429 Too Many Requests", b"", NotTaken("429 Too Many Requests")),
        ("503 Service Unavailable", b'{"message": "x"}', NotTaken("503 Service Unavailable")),
        ("500 Internal Server Error", b"", Unknown("500 Internal Server Error")),
        ("501 Not Implemented", b"", Unknown("501 Not Implemented")),
        ("502 Bad Gateway", b"", Unknown("502 Bad Gateway")),
        ("504 Gateway Timeout", b"", Unknown("504 Gateway Timeout")),
        ("599 Odd", b"", Unknown("599 Odd")),
    ],
)
async def test_each_answer_has_its_outcome(status: str, body: bytes, expected: Outcome) -> None:
    assert await outcome_of(answering(status, body)) == expected


async def test_a_redirect_is_not_followed() -> None:
    recorder = Recorder()
    async with served(recorder) as target:
        moved = answering("307 Temporary Redirect", b"", f"Location: http://127.0.0.1:{target}/")
        assert isinstance(await outcome_of(moved), Refused)
    assert recorder.requests == []


async def test_a_reason_has_300_characters_at_most_and_is_text() -> None:
    long = await outcome_of(answering("400 Bad Request", orjson.dumps({"message": "ü" * 1000})))
    assert long == Refused("ü" * 300)
    odd = await outcome_of(answering("400 \xff\xfe"))
    assert isinstance(odd, Refused)
    assert odd.reason.encode().decode() == odd.reason


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("7", 7.0), ("0", 0.0), ("999999999999", 86400.0), ("soon", None), ("-3", None), ("1.5", None), ("", None)],
)
async def test_retry_after_is_told(given: str, seconds: float | None) -> None:
    outcome = await outcome_of(answering("503 Service Unavailable", b"", f"Retry-After: {given}"))
    assert outcome == NotTaken("503 Service Unavailable", retry_after=seconds)


@pytest.mark.parametrize(("ahead", "least", "most"), [(90, 80, 90), (-90, 0, 0)])
async def test_retry_after_may_be_a_date(ahead: int, least: float, most: float) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
    outcome = await outcome_of(answering("429 Too Many Requests", b"", f"Retry-After: {date}"))
    assert isinstance(outcome, NotTaken)
    assert outcome.retry_after is not None
    assert least <= outcome.retry_after <= most


async def test_of_a_body_without_end_64_kib_are_read() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 10_000)
            await writer.drain()

    assert await outcome_of(endless) == Applied(None)


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
    """A server's side of TLS with a certificate that it made itself."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    return tls


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
    assert await outcome_of(silent, timeout=0.3) == Unknown("no answer within 0.3 s", "TimeoutError")
    assert time.monotonic() - began < 1


async def test_an_answer_that_trickles_ends_at_the_limit() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.01)

    assert await outcome_of(trickle, timeout=0.3) == Unknown("no answer within 0.3 s", "TimeoutError")


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


# -- its entry --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "url: Field required"),
        ({"url": "ftp://portal/"}, "url: URL scheme should be 'http' or 'https'"),
        ({"url": "http://portal/", "concurency": 3}, "concurency: Extra inputs are not permitted"),
    ],
)
def test_an_entry_that_cannot_be_used_is_told_in_one_line(fields: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        HttpPortal({"timeout": 1} | fields)
