"""What tracing costs a submission: off, against the code before it had any, and on, as operators would have it.

A service of each kind runs beside the others, and they take turns of a second or two: a machine whose speed changes
from one minute to the next is as fast for all of them. Each turn is compared with those of its round. All three are
started anew for each series of rounds: processes of the same code differ by some hundredths for as long as they live.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import permutations
from pathlib import Path
from statistics import mean, median, quantiles

from tests.bench.http_load import in_own_process
from tests.bench.report import Row
from tests.bench.servers import Servers
from tests.bench.submit import CONNECTIONS, WARM_UP, orders, service
from tests.end_to_end.service import Client
from tests.otlp_receiver import Receiver, receiving
from tests.releases import ROOT, before, unpack

SERIES, COUNT = 8, 1_500  # a series is a round in each of the six orders
BETWEEN_SECONDS = 0.4  # projector and relay catch up
SAMPLE_RATE = 0.1
WITHOUT, OFF, ON = "without", "off", "on"


async def measure(servers: Servers) -> Sequence[Row]:
    before_it = unpack(before("infra/tracing.py"), servers.folder)
    rounds: list[Mapping[str, float]] = []
    with receiving(Receiver(counts_only=True)) as receiver:
        for _ in range(SERIES):
            async with _each_kind(servers, before_it, receiver.url) as clients:
                rounds += [{kind: await _rate(clients[kind]) for kind in order} for order in permutations(clients)]
        spans = receiver.count
    if not spans:
        raise RuntimeError("no spans have come")
    on = f" at sample rate {SAMPLE_RATE} to a receiver on this machine, {spans:,} spans"
    return [
        _row("tracing_off_ratio", OFF, "≥ 0.98", rounds, ""),
        _row("tracing_on_ratio", ON, "≥ 0.85", rounds, on),
    ]


@asynccontextmanager
async def _each_kind(servers: Servers, before_it: Path, receiver_url: str) -> AsyncIterator[Mapping[str, Client]]:
    """A warm service of each kind."""
    traced = {
        "TRACING_ENABLED": "true",
        "TRACING_EXPORTER": "otlp",
        "OTLP_ENDPOINT": receiver_url,
        "TRACING_SAMPLE_RATE": str(SAMPLE_RATE),
    }
    untraced: dict[str, str] = {}
    kinds = {WITHOUT: (before_it, untraced), OFF: (ROOT, untraced), ON: (ROOT, traced)}
    clients: dict[str, Client] = {}
    async with AsyncExitStack() as running:
        for kind, (code, settings) in kinds.items():
            made = service(servers, servers.fresh_sqlite(), "api", "projector", "relay", code=code, **settings)
            _, clients[kind] = await running.enter_async_context(made)
            await in_own_process(orders(clients[kind], WARM_UP))
        yield clients


async def _rate(client: Client) -> float:
    await asyncio.sleep(BETWEEN_SECONDS)
    seen = await in_own_process(orders(client, COUNT, connections=CONNECTIONS))
    if seen.refused:
        raise RuntimeError(f"{seen.refused} submissions were refused")
    return seen.rate


def _row(name: str, kind: str, goal: str, rounds: Sequence[Mapping[str, float]], how: str) -> Row:
    ratios = [rates[kind] / rates[WITHOUT] for rates in rounds]
    lower, _, upper = quantiles(ratios, n=4)
    rate, without = (mean(rates[one] for rates in rounds) for one in (kind, WITHOUT))
    conditions = (
        f"{COUNT:,} submissions a turn, {CONNECTIONS} connections, projector and relay running; {rate:,.0f}/s{how}, "
        f"{without:,.0f}/s without; median of {len(rounds)} rounds, half of them {lower:.3f} to {upper:.3f}"
    )
    return Row(name, median(ratios), "", goal, conditions)
