"""`make simulate SEEDS=N`: so many runs, from seed FROM on; `SEED=n` runs that one and tells what happened.

Ends with 1 when a seed breaks a promise, and prints it: the same seed gives the same run again. The simulation is
imported late, so that a bug can be planted before.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from multiprocessing import get_context
from typing import TYPE_CHECKING

from tests.simulation.planted import plant

if TYPE_CHECKING:
    from tests.simulation.run import Outcome

CHUNK = 20
CHUNKS_A_PROCESS = 50  # then a new one: coroutines that were thrown away in the middle leave something behind
TOLD_EVERY = 1_000  # seeds, at most
TOLD_LINES = 200


def _outcomes(seeds: Sequence[int]) -> Sequence["Outcome"]:
    from tests.simulation.run import simulate_all

    return list(simulate_all(seeds))


def _chunks(first: int, seeds: int, chunk: int) -> Iterator[range]:
    return (range(begin, min(begin + chunk, first + seeds)) for begin in range(first, first + seeds, chunk))


def _prepare(planted: str | None) -> None:
    if planted is not None:
        plant(planted)


def _pool(processes: int, planted: str | None) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        processes, get_context("spawn"), _prepare, (planted,), max_tasks_per_child=CHUNKS_A_PROCESS
    )


def run_many(first: int, seeds: int, processes: int, *, until_broken: bool = False, planted: str | None = None) -> int:
    """How many seeds broke a promise."""
    began, broken, steps, applications, done = time.monotonic(), 0, 0, 0, count(1)
    with _pool(processes, planted) as pool:
        for outcomes in pool.map(_outcomes, _chunks(first, seeds, 4 if until_broken else CHUNK)):
            for outcome in outcomes:
                number = next(done)
                steps += outcome.steps
                applications += outcome.applications
                if outcome.violation:
                    broken += 1
                    print(f"seed {outcome.seed}: {outcome.violation}", flush=True)
                    if until_broken:
                        pool.shutdown(wait=False, cancel_futures=True)
                        return broken
                if number % max(min(seeds // 10, TOLD_EVERY), CHUNK) == 0:
                    print(f"{number:,} of {seeds:,} seeds, {time.monotonic() - began:.0f} s", flush=True)
    print(
        f"{seeds:,} seeds, {applications:,} applications, {steps:,} steps in {time.monotonic() - began:.0f} s: "
        f"{broken} broke a promise"
    )
    return broken


def run_one(seed: int) -> int:
    from tests.simulation.run import simulate_all

    [outcome] = simulate_all([seed], trace=True)
    print("\n".join(outcome.told[-TOLD_LINES:]))
    print(f"seed {seed}: {outcome.violation or 'clean'} ({outcome.steps:,} steps, {outcome.seconds:.1f} s)")
    return 1 if outcome.violation else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many runs")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--seed", type=int, help="only this one, and what happens in it")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--until-broken", action="store_true", help="ends with the first seed that breaks a promise")
    parser.add_argument("--plant", help="a bug of tests/simulation/planted.py that is put into the code before")
    args = parser.parse_args()
    if args.seed is not None:
        if args.plant:
            plant(args.plant)
        return run_one(args.seed)
    broken = run_many(args.first, args.seeds, args.processes, until_broken=args.until_broken, planted=args.plant)
    return 1 if broken else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # else sets of texts are walked in another order each time
        command = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | {"PYTHONHASHSEED": "0"})
    sys.exit(main())
