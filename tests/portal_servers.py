"""Servers that do exactly one thing, and a submission to them by the HTTP adapter."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from consumers.portals import Outcome, Submission
from consumers.portals.http import HttpPortal
from tests.submissions import a_submission

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


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS with a certificate that it made itself."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    return tls


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


class Recorder:
    """Answers 200 and keeps what came."""

    def __init__(self, *headers: str) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self._head = "\r\n".join(["HTTP/1.1 200 OK", "Content-Length: 17", *headers, "", ""]).encode()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            self.requests.append(await read_request(reader))
            writer.write(self._head + b'{"reference":"R"}')
