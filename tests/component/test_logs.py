"""What operators read: the lines of a process, through a real pipe (contract metrics.md 5)."""

import asyncio
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from infra.logs import LINES_WAITING, LogWriter, log_context, setup_logging

SECRET = "a-key-that-nobody-may-see"
logger = logging.getLogger("api.example")


class Reader:
    """The other end of stdout."""

    def __init__(self) -> None:
        self.source, self.sink = os.pipe()
        self.writer: LogWriter | None = None

    def set_up(self, **options: Any) -> "Reader":
        self.writer = setup_logging(service="svc", environment="test", secrets=[SECRET], fd=self.sink, **options)
        return self

    def text(self) -> str:
        """All that was logged so far: stops the writer, so that it has written everything."""
        assert self.writer
        self.writer.stop()
        os.close(self.sink)
        with os.fdopen(self.source, "rb") as source:
            return source.read().decode()

    def lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.text().splitlines()]

    def line(self) -> dict[str, Any]:
        [line] = self.lines()
        return line


@pytest.fixture
def reader() -> Iterator[Reader]:
    root, ours = logging.getLogger(), logging.getLogger("api")
    before = root.level, ours.level
    reader = Reader()
    yield reader
    if reader.writer:
        root.removeHandler(reader.writer)
    root.setLevel(before[0])
    ours.setLevel(before[1])
    logging.captureWarnings(capture=False)


def test_a_line_holds_the_fields_of_the_contract_and_no_others(reader: Reader) -> None:
    reader.set_up()
    logger.info(
        "%s was stored",
        "a1",
        extra={"event_type": "application.submitted", "application_id": "a1", "duration": 0.5, "cv": "private"},
    )
    line = reader.line()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("timestamp"))
    assert line == {
        "level": "INFO",
        "message": "a1 was stored",
        "event_type": "application.submitted",
        "service": "svc",
        "environment": "test",
        "application_id": "a1",
        "duration": 0.5,
    }


def test_without_an_event_type_the_loggers_name_stands_in(reader: Reader) -> None:
    reader.set_up()
    logger.warning("x")
    assert reader.line()["event_type"] == "api.example"


async def test_the_context_is_that_of_the_task(reader: Reader) -> None:
    reader.set_up()

    async def work(user: str) -> None:
        with log_context(user_id=user):
            await asyncio.sleep(0)
            logger.info("x", extra={"path": f"/{user}"})

    with log_context(correlation_id="c1"):
        await asyncio.gather(work("ada"), work("bob"))
    logger.info("after")
    first, second, after = await asyncio.to_thread(reader.lines)
    assert (first["user_id"], first["path"], first["correlation_id"]) == ("ada", "/ada", "c1")
    assert (second["user_id"], second["path"], second["correlation_id"]) == ("bob", "/bob", "c1")
    assert "correlation_id" not in after


def test_what_the_call_says_goes_before_the_context(reader: Reader) -> None:
    reader.set_up()
    with log_context(application_id="outer", batch_id="b1"):
        logger.info("x", extra={"application_id": "inner"})
    line = reader.line()
    assert (line["application_id"], line["batch_id"]) == ("inner", "b1")


def test_an_exception_is_told_in_error(reader: Reader) -> None:
    reader.set_up()
    try:
        raise KeyError("missing")
    except KeyError:
        logger.exception("it failed", extra={"error": "while reading"})
    error = reader.line()["error"]
    assert error.startswith("while reading\nTraceback")
    assert error.endswith("KeyError: 'missing'")


def test_the_end_of_a_long_error_is_kept(reader: Reader) -> None:
    reader.set_up()
    try:
        raise ValueError("x" * 100_000 + "the end")
    except ValueError:
        logger.exception("it failed")
    error = reader.line()["error"]
    assert error.endswith("the end")
    assert len(error) < 20_000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"key {SECRET}!", "key [redacted]!"),
        ("GET /ws/status?token=abc.def&x=1", "GET /ws/status?token=[redacted]&x=1"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted]"),
        ("it was eyJhbGciOiJIUzI1NiJ9.eyJpZCI6NH0.c2ln", "it was [redacted]"),
        ("amqp://user:pass%20word@host:5672/", "amqp://[redacted]@host:5672/"),
        ("http://localhost:8009/docs", "http://localhost:8009/docs"),
    ],
)
@pytest.mark.parametrize("field", ["message", "path", "error"])
def test_secrets_are_taken_out_of_every_text(reader: Reader, field: str, text: str, shown: str) -> None:
    reader.set_up()
    if field == "message":
        logger.info("%s", text)
    else:
        logger.info("x", extra={field: text})
    assert reader.line()[field] == shown


def test_a_secret_in_a_traceback_is_taken_out(reader: Reader) -> None:
    reader.set_up()
    try:
        raise ConnectionError(f"cannot reach amqp://u:{SECRET}@h/")
    except ConnectionError:
        logger.exception("away")
    assert SECRET not in reader.text()


def test_debug_holds_for_our_modules_only(reader: Reader) -> None:
    reader.set_up(level="DEBUG")
    logger.debug("ours")
    logging.getLogger("pymongo.command").debug("a document")
    assert reader.line()["message"] == "ours"


def test_a_higher_level_holds_for_all(reader: Reader) -> None:
    reader.set_up(level="ERROR")
    logger.warning("ours")
    logging.getLogger("aio_pika").warning("theirs")
    assert reader.text() == ""


def test_readable_text_says_the_same(reader: Reader) -> None:
    reader.set_up(json_lines=False)
    logger.warning("slow", extra={"event_type": "request", "status_code": 200, "duration": 2, "error": "why"})
    text = reader.text()
    assert re.search(r"Z WARNING  request: slow  status_code=200 duration=2\nwhy\n$", text)


def test_a_bad_log_call_breaks_nothing(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    writer = reader.set_up().writer
    assert writer
    writer.handle(logging.LogRecord("api", logging.INFO, __file__, 1, "%d", ("not a number",), None))
    logger.info("fine")
    assert reader.line()["message"] == "fine"
    assert "Logging error" in capsys.readouterr().err


def test_a_value_that_json_does_not_know_is_told_as_text(reader: Reader) -> None:
    reader.set_up()
    logger.info("x", extra={"user_id": threading})
    assert reader.line()["user_id"].startswith("<module")


async def test_a_stdout_that_stands_still_holds_up_nobody_and_the_loss_is_told(reader: Reader) -> None:
    writer, logged = reader.set_up().writer, 0
    assert writer
    while writer.dropped < 1_000:  # the pipe takes some hundred, the thread what waited when it looked, then all wait
        assert logged < 3 * LINES_WAITING
        logger.info("line %d", logged)
        logged += 1
    with os.fdopen(reader.source, "rb") as source:
        reading = asyncio.create_task(asyncio.to_thread(source.readlines))
        await asyncio.to_thread(writer.stop)
        os.close(reader.sink)
        lines = [orjson.loads(line) for line in await reading]
    told = [line for line in lines if line["event_type"] == "logs.dropped"]
    assert len(lines) - len(told) == logged - writer.dropped
    assert all("log lines were dropped" in line["message"] for line in told)
    assert sum(int(line["message"].split()[0]) for line in told) == writer.dropped


def in_a_process(program: str, **options: Any) -> "subprocess.Popen[bytes]":
    head = (
        "import logging, os, sys, threading\n"
        "from infra.logs import setup_logging\n"
        "setup_logging(service='svc', environment='test')\n"
        "log = logging.getLogger('api').info\n"
    )
    return subprocess.Popen([sys.executable, "-c", head + program], stdout=subprocess.PIPE, **options)


def test_what_waits_at_exit_is_written() -> None:
    process = in_a_process("for n in range(3000): log('line %d', n)")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert [orjson.loads(line)["message"] for line in out.splitlines()] == [f"line {n}" for n in range(3000)]


def test_an_exit_waits_for_a_stuck_stdout_only_so_long() -> None:
    process = in_a_process("for n in range(3000): log('line %d', n)", stderr=subprocess.PIPE)
    assert process.wait(timeout=30) == 0  # nobody read a byte
    assert process.stdout
    assert process.stderr
    assert process.stdout.read().count(b"\n") > 100
    assert process.stderr.read() == b""
    process.stdout.close()
    process.stderr.close()


def test_a_closed_stdout_does_not_end_the_process() -> None:
    process = in_a_process("sys.stdin.read()\nfor n in range(100): log('x')\nprint('alive', file=sys.stderr)",
                           stdin=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert process.stdout
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(b"", timeout=30)
    assert process.returncode == 0
    assert err == b"alive\n"


def test_a_second_set_up_replaces_the_first(reader: Reader) -> None:
    first = setup_logging(service="old", environment="test", fd=reader.sink)
    reader.set_up()
    logger.info("x")
    assert first not in logging.getLogger().handlers
    assert reader.line()["service"] == "svc"
