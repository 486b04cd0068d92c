"""`make simulate SEEDS=N`: so many runs, from seed FROM on; `SEED=n` runs that one and tells what happened.

Ends with 1 when a seed breaks a promise, and prints it: the same seed gives the same run again.
"""

import argparse
import os
import sys

from tests.simulation.many import run_many
from tests.simulation.planted import plant

TOLD_LINES = 200


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
