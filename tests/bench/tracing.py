"""What tracing costs a submission: off, against the code before it had any, and on, as operators would have it.

The three take turns, there and back, so that a machine that grows slower meanwhile is slower for all of them.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from tests.bench.http_load import in_own_process
from tests.bench.report import Row
from tests.bench.servers import Servers
from tests.bench.submit import CONNECTIONS, WARM_UP, orders, service
from tests.otlp_receiver import receiving
from tests.releases import ROOT, before, unpack

COUNT = 8_000
SAMPLE_RATE = 0.1
WITHOUT, OFF, ON = "without", "off", "on"


async def measure(servers: Servers) -> Sequence[Row]:
    commit = before("infra/tracing.py")
    code = unpack(commit, servers.folder)
    rates: dict[str, list[float]] = {WITHOUT: [], OFF: [], ON: []}
    with receiving() as receiver:
        told = {
            "TRACING_ENABLED": "true",
            "TRACING_EXPORTER": "otlp",
            "OTLP_ENDPOINT": receiver.url,
            "TRACING_SAMPLE_RATE": str(SAMPLE_RATE),
        }
        for turn in (WITHOUT, OFF, ON, ON, OFF, WITHOUT):
            settings = told if turn == ON else {}
            rates[turn].append(await _rate(servers, code if turn == WITHOUT else ROOT, settings))
        spans = len(receiver.spans)
    if not spans:
        raise RuntimeError("no spans have come")
    without, off, on = (mean(rates[turn]) for turn in (WITHOUT, OFF, ON))
    conditions = f"2 × {COUNT:,} submissions each, {CONNECTIONS} connections, projector and relay running"
    return [
        Row("tracing_off_ratio", off / without, "", "≥ 0.98", f"{conditions}; {off:,.0f}/s, {without:,.0f}/s without"),
        Row(
            "tracing_on_ratio",
            on / without,
            "",
            "≥ 0.85",
            f"{conditions}; {on:,.0f}/s at sample rate {SAMPLE_RATE} to a receiver on this machine, {spans:,} spans",
        ),
    ]


async def _rate(servers: Servers, code: Path, settings: dict[str, str]) -> float:
    async with service(servers, servers.fresh_sqlite(), "api", "projector", "relay", code=code, **settings) as (
        _,
        client,
    ):
        await in_own_process(orders(client, WARM_UP))
        seen = await in_own_process(orders(client, COUNT, connections=CONNECTIONS))
    if seen.refused:
        raise RuntimeError(f"{seen.refused} submissions were refused")
    return seen.rate
