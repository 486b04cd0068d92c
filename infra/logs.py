"""Logs: one JSON object a line on stdout (contract metrics.md 5), written without ever holding up the event loop.

Code logs through `logging.getLogger(__name__)`. The fields of the contract come from `extra={...}` or from the nearest
`log_context`; whatever else stands in `extra` is left out, so that nothing private slips into a line. `event_type`
falls back to the logger's name. An exception goes to `error`, which only operators see.

A line is made where it is logged and handed to a thread that writes those of GATHER_SECONDS at once: to wake for each
would cost more than the line. At most LINES_WAITING lines wait; while stdout stands still, more are dropped and
counted, and the next line that gets through tells how many. `stop` (also run at exit) writes what waits, for
STOP_SECONDS at most. A process that is killed loses the lines that wait.

What must never be shown is kept out by those who log. As a net below them, each text is searched for the known
secrets, tokens, and passwords in addresses.
"""

import atexit
import logging
import os
import re
import select
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any

import orjson

LINES_WAITING = 10_000
STOP_SECONDS = 2.0
GATHER_SECONDS = 0.02
TEXT_MAX = 16_384  # characters of one text
REDACTED = "[redacted]"
FIELDS = (
    "correlation_id",
    "trace_id",
    "user_id",
    "application_id",
    "batch_id",
    "method",
    "path",
    "status_code",
    "duration",  # seconds
    "error",
)
OURS = ("api", "consumers", "domain", "infra", "projections")
SHORTEST_SECRET = 4  # characters; to redact shorter ones would make lines unreadable

_context: ContextVar[Mapping[str, Any]] = ContextVar("log_context", default={})  # noqa: B039  never changed in place


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Every line logged inside, by this task and those it starts, carries these fields."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


class Redaction:
    """Takes secrets out of a text."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = sorted({secret for secret in secrets if len(secret) >= SHORTEST_SECRET}, key=len, reverse=True)
        kinds = [
            r"(token=)[^&\s\"']+",
            r"([Bb]earer )[^\s\"']+",
            r"eyJ[\w-]+\.[\w-]+\.[\w-]*",  # a JWT
            r"(://)[^/@\s:]*:[^/@\s]*(?=@)",
            *map(re.escape, known),
        ]
        self._pattern = re.compile("|".join(kinds))
        self._marks = ("token=", "earer ", "eyJ", "://", *known)  # one of them is in each text that the pattern finds

    def __call__(self, text: str) -> str:
        """At most TEXT_MAX characters of it. Reads some more, so that a secret at the cut is found whole."""
        for mark in self._marks:
            if mark in text:
                return self._pattern.sub(self._keep_what_introduces_it, text[: 2 * TEXT_MAX])[:TEXT_MAX]
        return text[:TEXT_MAX]  # most texts: a fifth of what the pattern costs

    @staticmethod
    def _keep_what_introduces_it(found: re.Match[str]) -> str:
        return (found[found.lastindex] if found.lastindex else "") + REDACTED


class Lines(logging.Formatter):
    """Makes a record into the fields of its line, and these into text."""

    def __init__(self, service: str, environment: str, *, json_lines: bool, secrets: Iterable[str]) -> None:
        super().__init__()
        self._fixed = {"service": service, "environment": environment}
        self._redact = Redaction(secrets)
        self._json_lines = json_lines

    def format(self, record: logging.LogRecord) -> str:
        return self._as_json(record) if self._json_lines else self._as_text(record)

    def _as_json(self, record: logging.LogRecord) -> str:
        return orjson.dumps(self._fields(record), default=str).decode()

    def _as_text(self, record: logging.LogRecord) -> str:
        fields = self._fields(record)
        error = fields.pop("error", "")
        rest = " ".join(f"{name}={fields[name]}" for name in FIELDS if name in fields)
        line = "{timestamp} {level:<8} {event_type}: {message}".format_map(fields)
        return "  ".join(filter(None, (line, rest))) + (f"\n{error}" if error else "")

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        fields = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname,
            "message": self._redact(record.getMessage()),
            "event_type": getattr(record, "event_type", record.name),
            **self._fixed,
        }
        context = _context.get()
        for name in FIELDS:
            value = record.__dict__.get(name, context.get(name))
            if value is not None:
                fields[name] = self._redact(value) if isinstance(value, str) else value
        if record.exc_info or record.stack_info:
            fields["error"] = self._redact(self._trace(record, fields.get("error")))
        return fields

    def _trace(self, record: logging.LogRecord, told: object) -> str:
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        text = "\n".join(str(part) for part in (told, trace, record.stack_info) if part)
        return text[-TEXT_MAX:]  # the end tells what happened


class LogWriter(logging.Handler):
    """Hands lines to the thread that writes them, and counts those that found no room."""

    def __init__(self, fd: int, lines: Lines) -> None:
        super().__init__()
        self.setFormatter(lines)
        self.dropped = 0
        self._told = 0
        self._fd = fd
        self._waiting: SimpleQueue[str | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="logs", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # a bad log call must not break its caller
            self.handleError(record)
            return
        if self._waiting.qsize() >= LINES_WAITING:
            self.dropped += 1
        else:
            self._waiting.put(line)

    def stop(self) -> None:
        """Writes what waits, for STOP_SECONDS at most. What is logged later is lost."""
        self._waiting.put(None)
        self._thread.join(STOP_SECONDS)

    def _write_all(self) -> None:
        going_on = True
        while going_on:
            lines = [self._waiting.get()]
            if lines[0] is not None:
                time.sleep(GATHER_SECONDS)
            lines.extend(self._waiting.get_nowait() for _ in range(self._waiting.qsize()))
            going_on = None not in lines
            self._write("\n".join(line for line in lines if line is not None))
            if self.dropped > self._told:
                self._tell_dropped()

    def _tell_dropped(self) -> None:
        lost, self._told = self.dropped - self._told, self.dropped
        message = f"{lost} log lines were dropped because stdout stood still"
        self._write(self.format(logging.LogRecord("logs.dropped", logging.WARNING, __file__, 0, message, None, None)))

    def _write(self, line: str) -> None:
        """Unbuffered: a buffer's lock, held by this thread while it is stuck, would abort the interpreter's exit."""
        rest = line.encode(errors="replace") + b"\n" if line else b""
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # somebody made stdout non-blocking
                select.select([], [self._fd], [])
            except OSError:  # nobody reads any more: there is nowhere to tell it
                return


def setup_logging(
    *,
    service: str,
    environment: str,
    level: str = "INFO",
    json_lines: bool = True,
    secrets: Iterable[str] = (),
    fd: int | None = None,
) -> LogWriter:
    """Sends this process's logs to stdout, or to the descriptor `fd`.

    Once, at a role's start; a second call replaces the first. DEBUG holds for our own modules only:
    libraries would log what they send and store.
    """
    root = logging.getLogger()
    for earlier in [handler for handler in root.handlers if isinstance(handler, LogWriter)]:
        root.removeHandler(earlier)
        earlier.stop()
    lines = Lines(service, environment, json_lines=json_lines, secrets=secrets)
    writer = LogWriter(sys.stdout.fileno() if fd is None else fd, lines)
    root.addHandler(writer)
    root.setLevel(max(logging.getLevelNamesMapping()[level], logging.INFO))
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=True)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # no line tells them
    atexit.register(writer.stop)
    return writer
