"""A MongoDB that is in no replica set, which has no transactions: what the service refuses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from infra.local_servers import Running


@asynccontextmanager
async def standalone_mongodb(like: Running, folder: Path, port: int) -> AsyncIterator[None]:
    """The same program as that server's. It may not listen yet."""
    program = Path(f"/proc/{like.pid}/exe").readlink()
    words = ["--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"]
    process = await asyncio.create_subprocess_exec(program, *words, stdout=asyncio.subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        await process.wait()
