"""Downloads an export and counts its lines, at little cost: a process of its own, beside what is measured.

`python -m tests.bench.csv_download URL TOKEN` prints {"lines", "bytes", "seconds", "first_byte_ms"}.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass

import aiohttp


@dataclass(frozen=True, slots=True)
class Downloaded:
    lines: int
    bytes: int
    seconds: float
    first_byte_ms: float


async def download(url: str, token: str) -> Downloaded:
    """Raises aiohttp.ClientError when it is refused or broken off."""
    lines = size = 0
    first = None
    began = time.perf_counter()
    timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(timeout=timeout) as http, http.get(url, headers=headers) as response:
        response.raise_for_status()
        async for chunk in response.content.iter_any():
            first = first or time.perf_counter()
            lines += chunk.count(b"\n")
            size += len(chunk)
    return Downloaded(lines, size, time.perf_counter() - began, 1000 * ((first or began) - began))


async def in_own_process(url: str, token: str) -> Downloaded:
    """The same, beside the caller. Raises RuntimeError when it does not come to its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.csv_download", url, token, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{url} was refused or broken off")
    return Downloaded(**json.loads(printed))


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(download(*sys.argv[1:])))))
