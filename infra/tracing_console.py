"""The exporter `console`: each span as one line of JSON on stdout, between the lines of the log.

Written without a buffer, for the reason that `infra.logs` tells.
"""

import os
import select
from typing import IO, cast

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import ConsoleSpanExporter

STDOUT = 1


class _Stdout:
    """As much of a file as the exporter needs."""

    def write(self, text: str) -> int:
        rest = text.encode(errors="replace")
        while rest:
            try:
                rest = rest[os.write(STDOUT, rest) :]
            except BlockingIOError:  # somebody made stdout non-blocking
                select.select([], [STDOUT], [])
            except OSError:  # nobody reads any more
                break
        return len(text)

    def flush(self) -> None: ...


def console_exporter() -> ConsoleSpanExporter:
    return ConsoleSpanExporter(out=cast(IO[str], _Stdout()), formatter=_line)


def _line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"
