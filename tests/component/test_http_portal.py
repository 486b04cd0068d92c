"""The HTTP adapter: what it sends, and what each answer means (contract portals.md 2)."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import orjson
import pytest

from consumers.portals import Applied, NotTaken, Outcome, Refused, Unknown
from consumers.portals.http import HttpPortal
from tests.portal_servers import Recorder, answering, outcome_of, read_request, served, submit
from tests.submissions import Pdf, a_submission

# -- what is sent -----------------------------------------------------------------------------------------------------


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
