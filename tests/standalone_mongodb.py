"""A MongoDB that is in no replica set, which has no transactions: what the service refuses."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from infra.local_servers import Running


@asynccontextmanager
async def standalone_mongodb(like: Running, folder: Path, port: int) -> AsyncIterator[None]:
    """The same program as that server's, once it listens."""
    program = Path(f"/proc/{like.pid}/exe").readlink()
    words = ["--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"]
    process = await asyncio.create_subprocess_exec(program, *words, stdout=asyncio.subprocess.DEVNULL)
    try:
        await _until_it_listens(port)
        yield
    finally:
        process.terminate()
        await process.wait()


async def _until_it_listens(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return await writer.wait_closed()
            await asyncio.sleep(0.05)
