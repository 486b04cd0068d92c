"""One seed, from an empty world to its verdict."""

import asyncio
import contextlib
import gc
import logging
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.simulation.chances import Chances
from tests.simulation.loop import SimLoop, Standstill
from tests.simulation.watch import Violation
from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one seed gave: `violation` is None for a clean run."""

    seed: int
    violation: str | None
    steps: int
    seconds: float
    applications: int
    told: Sequence[str] = ()


RUNS_A_COLLECTION = 10

gc.collect()
gc.freeze()  # what is imported stays: later collections need not walk through it


def simulate_all(seeds: Iterable[int], *, trace: bool = False) -> Iterator[Outcome]:
    """Runs of these seeds. The same seed gives the same run, as long as the code is the same and PYTHONHASHSEED is 0.

    What is dead, or is given up at the end of a run, stays as it is until that run is over: to throw a coroutine away
    runs what its `finally` tries.
    """
    logging.disable(logging.CRITICAL)
    gc.disable()
    sys.unraisablehook = _unheard
    warnings.simplefilter("ignore", RuntimeWarning)  # "was never awaited"
    try:
        for number, seed in enumerate(seeds, 1):
            yield _simulate(seed, trace)
            if number % RUNS_A_COLLECTION == 0:
                gc.collect()
    finally:
        gc.collect()
        gc.enable()
        sys.unraisablehook = sys.__unraisablehook__
        logging.disable(logging.NOTSET)


def _unheard(unraisable: object) -> None:
    """Coroutines that are thrown away in the middle complain: that is what a kill is."""


def _simulate(seed: int, trace: bool) -> Outcome:
    chances = Chances(seed)
    loop = SimLoop(chances.latency)
    world = World(chances, loop, trace)
    asyncio.set_event_loop(loop)
    violation: str | None = None
    try:
        loop.run_until_complete(world.run())
    except Violation as error:
        violation = str(error)
    except Standstill:
        violation = "nothing moves any more"
    finally:
        asyncio.set_event_loop(None)
        loop.end_threads()
        with contextlib.suppress(RuntimeError):
            loop.close()
    return Outcome(seed, violation, loop.steps, loop.time(), len(world.watch.applications), world.told)
