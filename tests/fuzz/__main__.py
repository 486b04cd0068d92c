"""`python -m tests.fuzz`: rounds of requests until there were enough of them; see `--help`.

20,000 take about ten minutes on two cores.
"""

import argparse
import asyncio
import random
import sys
from collections.abc import Iterator
from itertools import count

from tests.bench.servers import servers
from tests.fuzz.run import fuzz, service_for, troubles


async def run(cases: int, examples: int, seeds: Iterator[int]) -> bool:
    async with servers() as on:
        service = service_for(on.folder, mongodb=on.mongodb.url, database="fuzz", rabbitmq=on.rabbitmq.url)
        async with service.running() as client:
            made = 0
            while made < cases:
                seed = next(seeds)
                fuzzed = await fuzz(service, client, examples=examples, seed=seed)
                made += fuzzed.cases
                found = await troubles(service, client)
                print(fuzzed.told, *found, f"{made} requests so far", sep="\n", flush=True)
                if found or not fuzzed.passed or not fuzzed.cases:
                    print(f'Again: make fuzz ARGS="--seed {seed} --examples {examples} --cases 1"', file=sys.stderr)
                    return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--cases", type=int, default=20_000, help="requests to make at least")
    parser.add_argument("--examples", type=int, default=250, help="at most for an operation in a phase of a round")
    parser.add_argument("--seed", type=int, default=random.randrange(2**31), help="of the first round")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    sys.exit(not asyncio.run(run(arguments.cases, arguments.examples, count(arguments.seed))))


if __name__ == "__main__":
    main()
