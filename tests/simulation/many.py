"""Many seeds, in processes beside each other.

The simulation is imported late, in those processes, so that a bug can be planted there before. They may have to import
this module (Python 3.14 does not fork), which they could not do with `__main__`.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from typing import TYPE_CHECKING

from tests.simulation.planted import plant

if TYPE_CHECKING:
    from tests.simulation.run import Outcome

CHUNK = 20
TOLD_EVERY = 1_000  # seeds, at most


def _outcomes(seeds: Sequence[int]) -> Sequence["Outcome"]:
    from tests.simulation.run import simulate_all

    return list(simulate_all(seeds))


def _chunks(first: int, seeds: int, chunk: int) -> Iterator[range]:
    return (range(begin, min(begin + chunk, first + seeds)) for begin in range(first, first + seeds, chunk))


def _prepare(planted: str | None) -> None:
    if planted is not None:
        plant(planted)


def run_many(first: int, seeds: int, processes: int, *, until_broken: bool = False, planted: str | None = None) -> int:
    """How many seeds broke a promise."""
    began, broken, steps, applications, done = time.monotonic(), 0, 0, 0, count(1)
    with ProcessPoolExecutor(processes, initializer=_prepare, initargs=(planted,)) as pool:
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
