"""Metrics of the process itself under Prometheus' standard names, from /proc (elsewhere than on Linux: fewer)."""

import gc
import math
import os
import platform
import resource
from pathlib import Path

from infra.metric_kinds import EVERY_ROLE, Counter, Gauge

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

CPU = Counter("process_cpu_seconds_total", "Seconds of CPU, user and system", roles=EVERY_ROLE)
VIRTUAL = Gauge("process_virtual_memory_bytes", "Virtual memory", roles=EVERY_ROLE)
RESIDENT = Gauge("process_resident_memory_bytes", "Resident memory", roles=EVERY_ROLE)
STARTED = Gauge("process_start_time_seconds", "Unix time of the start", roles=EVERY_ROLE)
OPEN_FILES = Gauge("process_open_fds", "Open file descriptors", roles=EVERY_ROLE)
MAX_FILES = Gauge("process_max_fds", "File descriptors at most", roles=EVERY_ROLE)
PYTHON = Gauge(
    "python_info",
    "Always 1; the interpreter",
    ("implementation", "major", "minor", "patchlevel", "version"),
    roles=EVERY_ROLE,
)
COLLECTIONS = Counter("python_gc_collections_total", "Runs of the garbage collector", ("generation",), roles=EVERY_ROLE)
COLLECTED = Counter("python_gc_objects_collected_total", "Objects freed by it", ("generation",), roles=EVERY_ROLE)
UNCOLLECTABLE = Counter(
    "python_gc_objects_uncollectable_total", "Objects that it could not free", ("generation",), roles=EVERY_ROLE
)


def refresh() -> None:
    """Reads files: not for the event loop."""
    major, minor, patchlevel = platform.python_version_tuple()
    PYTHON.set(
        1,
        implementation=platform.python_implementation(),
        major=major,
        minor=minor,
        patchlevel=patchlevel,
        version=platform.python_version(),
    )
    usage = resource.getrusage(resource.RUSAGE_SELF)
    CPU.set(usage.ru_utime + usage.ru_stime)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    MAX_FILES.set(math.inf if most == resource.RLIM_INFINITY else most)
    for generation, stats in enumerate(gc.get_stats()):
        COLLECTIONS.set(stats["collections"], generation=generation)
        COLLECTED.set(stats["collected"], generation=generation)
        UNCOLLECTABLE.set(stats["uncollectable"], generation=generation)
    if (PROC / "self/stat").exists():
        _refresh_from_proc()


def _refresh_from_proc() -> None:
    stat = (PROC / "self/stat").read_text()
    fields = stat.rpartition(")")[2].split()  # from the third on: the second is the name, and may hold anything
    boot = next(line for line in (PROC / "stat").read_text().splitlines() if line.startswith("btime "))
    STARTED.set(int(boot.split()[1]) + int(fields[19]) / TICKS)
    VIRTUAL.set(int(fields[20]))
    RESIDENT.set(int(fields[21]) * PAGE)
    OPEN_FILES.set(len(list((PROC / "self/fd").iterdir())) - 1)  # but for the one that lists them
