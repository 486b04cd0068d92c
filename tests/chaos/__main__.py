"""`python -m tests.chaos`: rounds of faults until there were enough; see `--help`, or `make chaos CYCLES=200`."""

import argparse
import asyncio
import random
import shutil
import sys
import time
from pathlib import Path

from tests.chaos.estate import servers
from tests.chaos.plan import Plan, drawn
from tests.chaos.round import run_round

KEPT = Path(".data/chaos")


async def run(arguments: argparse.Namespace) -> bool:
    """Whether nothing was found."""
    clean, done, seed = True, 0, arguments.seed
    began = time.monotonic()
    async with servers(arguments.store) as on:
        while done < arguments.cycles:
            cycles = min(arguments.round, arguments.cycles - done)
            plan = drawn(seed, cycles, arguments.store, arguments.longest)
            print(f"\n{plan}\n", flush=True)
            outcome = await run_round(on, plan, lambda line: print(f"  {line}", flush=True))
            print(outcome.told, *outcome.found, sep="\n", flush=True)
            done, seed = done + cycles, seed + 1
            print(f"{done} cycles, {len(outcome.found)} findings, {time.monotonic() - began:.0f} s", flush=True)
            if outcome.found:
                clean = False
                kept = await asyncio.to_thread(_keep, outcome.logs, plan)
                print(f"Logs: {kept}", _again(plan, arguments.longest), sep="\n", file=sys.stderr, flush=True)
                if not arguments.keep_going:
                    break
    return clean


def _keep(logs: Path, plan: Plan) -> Path:
    """The roles' logs of a round that found something."""
    kept = KEPT / f"{plan.store}-{plan.seed}"
    kept.mkdir(parents=True, exist_ok=True)
    for log in logs.glob("*.log"):
        shutil.copy(log, kept)
    return kept


def _again(plan: Plan, longest: float) -> str:
    cycles = len(plan.faults)
    return f"Again: make chaos STORE={plan.store} SEED={plan.seed} CYCLES={cycles} ARGS='--longest {longest:g}'"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Kills and stops whatever there is.")
    parser.add_argument("--cycles", type=int, default=20, help="faults in all")
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seed", type=int, default=random.randrange(2**31), help="of the first round")
    parser.add_argument("--round", type=int, default=20, help="faults before everything is counted")
    parser.add_argument("--longest", type=float, default=30.0, help="seconds that a stop may last")
    parser.add_argument("--keep-going", action="store_true", help="also after a finding")
    sys.exit(not asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
