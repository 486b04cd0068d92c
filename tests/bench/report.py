"""The rows of a benchmark, as a table for people and as `.data/bench.json` for programs."""

import platform
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median

import orjson
from rich.console import Console
from rich.table import Table

RUNS = 3
PACKAGES = ("aiohttp", "aio-pika", "eventsourcing", "motor", "psycopg", "pydantic")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `goal` reads like "≥ 1500" or "< 100"; `conditions` say what else was running."""

    name: str
    value: float
    unit: str
    goal: str
    conditions: str

    @property
    def reached(self) -> bool:
        sign, number = self.goal.split()[:2]
        limit = float(number)
        return {"≥": self.value >= limit, "<": self.value < limit}[sign]


Measure = Callable[[], Awaitable[Sequence[Row]]]


async def median_of_runs(measure: Measure, runs: int = RUNS) -> Sequence[Row]:
    """Each row with the median of its values."""
    if runs == 1:
        return await measure()
    results = [await measure() for _ in range(runs)]
    return [_median(rows) for rows in zip(*results, strict=True)]


def _median(rows: Sequence[Row]) -> Row:
    values = [row.value for row in rows]
    spread = f"median of {len(rows)}, {min(values):.5g} to {max(values):.5g}"
    return replace(rows[0], value=median(values), conditions=f"{rows[0].conditions}; {spread}")


def machine() -> str:
    """Where and with what the figures were taken."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    cores = len(list(Path("/sys/devices/system/cpu").glob("cpu[0-9]*")))
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{model}, {cores} cores shared with the load generator; Linux {platform.release()}; Python "
        f"{platform.python_version()}; SQLite {sqlite3.sqlite_version} synchronous=FULL; PostgreSQL "
        f"synchronous_commit=on; MongoDB majority writes with journal; {packages}"
    )


def show(rows: Sequence[Row]) -> None:
    table = Table("name", "value", "unit", "goal", "", "conditions", title=machine())
    for row in rows:
        mark = "[green]reached[/]" if row.reached else "[red]missed[/]"
        table.add_row(row.name, f"{row.value:,.5g}", row.unit, row.goal, mark, row.conditions)
    Console().print(table)


def save(rows: Sequence[Row], path: Path) -> None:
    """Rows of other names that the file holds stay."""
    old = orjson.loads(path.read_bytes()) if path.exists() else []
    new = {row.name for row in rows}
    kept = [row for row in old if row["name"] not in new]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps([*kept, *map(asdict, rows)], option=orjson.OPT_INDENT_2))
