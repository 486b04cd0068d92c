"""`python -m infra.local_servers KIND FOLDER [--port PORT]`: one server in the foreground, until Ctrl-C."""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from infra.local_servers import LocalServerError, start_mongodb, start_postgresql, start_rabbitmq

START = {"mongodb": start_mongodb, "rabbitmq": start_rabbitmq, "postgresql": start_postgresql}
LOOK_SECONDS = 0.2


async def _serve(kind: str, folder: Path, port: int | None) -> int:
    stop = asyncio.Event()
    for wanted in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(wanted, stop.set)
    try:
        server = await START[kind](folder, port)
    except LocalServerError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(server.url, flush=True)
    while server.alive and not stop.is_set():
        await asyncio.sleep(LOOK_SECONDS)
    if not stop.is_set():
        print(f"Error: {server.name} has ended; see {server.log}", file=sys.stderr)
    await server.stop()
    return 0 if stop.is_set() else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.local_servers", description=__doc__)
    parser.add_argument("kind", choices=sorted(START))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, help="a free one if not given")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return asyncio.run(_serve(given.kind, given.folder, given.port))


if __name__ == "__main__":
    sys.exit(main())
