"""`python -m tests.bench [NAME...]`: all rows, or those of the named measurements; see `--help`."""

import argparse
import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.bench import append, audit, exports, lists, projection, rebuild, status, streams, submit, tracing
from tests.bench.report import Measure, Row, median_of_runs, save, show
from tests.bench.servers import Servers, servers

RESULTS = Path(".data/bench.json")
ONCE = {"memory", "export_csv", "tracing"}  # long: what they measure is many in itself


def measurements(on: Servers) -> dict[str, Measure]:
    return {
        "append_sqlite": append.sqlite_ratio,
        "append_postgres": lambda: append.postgres_ratio(on.fresh_postgresql(), on.fresh_postgresql()),
        "append_two_processes": append.two_processes_ratio,
        "audit_verify": audit.verify,
        "append_chain": audit.chain_ratio,
        "submit_sqlite": partial(submit.on_sqlite, on),
        "submit_postgres": partial(submit.on_postgres, on),
        "submit_alone": partial(submit.alone, on),
        "overload": partial(submit.overload, on),
        "idempotent_submit": partial(submit.idempotent, on),
        "projection": partial(projection.measure, on),
        "rebuild": partial(rebuild.measure, on),
        "list_page": partial(lists.measure, on),
        "export_csv": partial(exports.csv, on),
        "export_excel": partial(exports.excel, on),
        "export_slow": partial(exports.slow, on),
        "status": partial(status.without_limits, on),
        "rate_limit": partial(status.with_limits, on),
        "visible": partial(submit.visible, on),
        "worker": partial(submit.worker, on),
        "stream": partial(streams.measure, on),
        "tracing": partial(tracing.measure, on),
        "memory": partial(submit.memory, on),
    }


async def run(names: Sequence[str], runs: int) -> Sequence[Row]:
    rows: list[Row] = []
    async with servers() as on:
        if unknown := set(names) - set(measurements(on)):
            raise SystemExit(
                f"no such measurement: {', '.join(sorted(unknown))}; there are {', '.join(measurements(on))}"
            )
        for name, measure in measurements(on).items():
            if not names or name in names:
                rows += await median_of_runs(measure, 1 if name in ONCE else runs)
                save(rows, RESULTS)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("names", nargs="*", metavar="NAME", help="append_sqlite, submit_sqlite, worker, ...")
    parser.add_argument("--runs", type=int, default=3, help="of which the median is told")
    arguments = parser.parse_args()
    show(asyncio.run(run(arguments.names, arguments.runs)))


if __name__ == "__main__":
    main()
