"""A load generator that costs little itself: requests made beforehand, raw connections, answers read by their length.

Runs as a process of its own (`python -m tests.bench.http_load`), reads its orders as JSON from standard input,
and prints what it saw: {"done", "refused", "seconds", "p50_ms", "p99_ms", "refused_p99_ms",
"refusals"}.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import uvloop


@dataclass(frozen=True, slots=True)
class Orders:
    """`requests` are whole HTTP requests, taken in turn. Ends after `count` answers.

    `patient`: the callers come one by one within a second, and who is refused waits as long as `Retry-After` says, or
    up to twice as long.
    """

    url: str
    requests: Sequence[str]
    count: int
    connections: int = 64
    per_second: float | None = None  # None: as fast as it goes
    patient: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    done: int
    refused: int  # answers that were no 2xx
    seconds: float
    p50_ms: float
    p99_ms: float
    refused_p99_ms: float  # of the refusals alone; 0 if there were none
    refusals: Sequence[int]  # their statuses, each once

    @property
    def rate(self) -> float:
        return self.done / self.seconds


def post_application(host: str, token: str, jobs: str, key: str | None = None) -> str:
    """A submission as browsers send it: multipart, one job, no CV; `key` is its idempotency key."""
    boundary = "----bench"
    keyed = "" if key is None else f"X-Idempotency-Key: {key}\r\n"
    body = f'--{boundary}\r\nContent-Disposition: form-data; name="jobs"\r\n\r\n{jobs}\r\n--{boundary}--\r\n'
    return (
        f"POST /applications HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{keyed}"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\nContent-Length: {len(body.encode())}\r\n\r\n{body}"
    )


def get(host: str, token: str, path: str) -> str:
    """A read."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"


async def run(orders: Orders) -> Seen:
    """Sends the requests over all connections and waits for each answer."""
    numbers = iter(range(orders.count))
    latencies: list[float] = []
    refusals: list[float] = []
    statuses: set[int] = set()
    began = time.perf_counter()
    parts = urlsplit(orders.url)

    async def connection() -> None:
        if orders.patient:
            await asyncio.sleep(random.random())
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for number in numbers:
            if orders.per_second:
                await asyncio.sleep(max(0.0, began + number / orders.per_second - time.perf_counter()))
            sent = time.perf_counter()
            writer.write(orders.requests[number % len(orders.requests)].encode())
            head = await _answer(reader)
            latencies.append(time.perf_counter() - sent)
            if not head.startswith(b"HTTP/1.1 2"):
                refusals.append(latencies[-1])
                statuses.add(int(head[9:12]))
                if orders.patient:
                    await asyncio.sleep(_retry_after(head) * random.uniform(1, 2))
        writer.close()

    await asyncio.gather(*(connection() for _ in range(orders.connections)))
    seconds = time.perf_counter() - began
    told = (_quantile(latencies, 0.5), _quantile(latencies, 0.99), _quantile(refusals, 0.99))
    return Seen(len(latencies), len(refusals), seconds, *told, sorted(statuses))


def _quantile(seconds: Sequence[float], share: float) -> float:
    """In milliseconds."""
    return 1000 * sorted(seconds)[int(len(seconds) * share)] if seconds else 0.0


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    await reader.readexactly(int(length.split(b":")[1]))
    return head


def _retry_after(head: bytes) -> float:
    """Seconds. Fails for a refusal that does not say."""
    return float(next(line for line in head.split(b"\r\n") if line.lower().startswith(b"retry-after:"))[12:])


async def in_own_process(orders: Orders) -> Seen:
    """The same, beside the caller, and only as long as he waits."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.http_load", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        printed, _ = await process.communicate(json.dumps(asdict(orders)).encode())
    finally:
        if process.returncode is None:  # nobody waits for it any more
            process.kill()
            await process.wait()
    return Seen(**json.loads(printed))


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(run(Orders(**json.load(sys.stdin)))))))
