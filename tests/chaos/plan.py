"""What is done to whom and when: drawn from a seed alone, printed, and drawn again to replay a round."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.tcp_proxy import Weather


class Harm(StrEnum):
    """What happens to a process. What happens to a connection: `Weather`."""

    KILL = "kill -9"  # and started again after a while
    STOP = "stop"  # SIGSTOP, then SIGCONT


ROLES = (
    *("api", "api-2", "projector", "projector-2", "relay", "relay-2"),
    *("worker", "worker-2", "worker-3", "sandbox"),
)
SERVERS = ("mongodb", "rabbitmq", "postgresql")
STORMS = (Weather.LATENCY, Weather.HALF_OPEN, Weather.RESET, Weather.DRIP)
STORMY_SHARE = 0.3  # of the faults of a round behind proxies
OVERLAPPING_SHARE = 0.25  # of faults that the next one does not wait for
SHORTEST_SECONDS = 1.0
AWAY_SECONDS = (0.0, 3.0)  # how long what was killed stays dead
PAUSE_SECONDS = (0.2, 2.0)  # between two faults


@dataclass(frozen=True, slots=True)
class Fault:
    """`at`: seconds after the load began. `seconds`: until it is started again, continued, or clear again."""

    at: float
    victim: str
    harm: Harm | Weather
    seconds: float

    def __str__(self) -> str:
        return f"{self.at:7.2f} s  {self.victim:<12} {self.harm}, {self.seconds:.2f} s"


@dataclass(frozen=True, slots=True)
class Plan:
    """One round. `stormy`: all that the service connects to is behind a proxy, whose weather changes."""

    seed: int
    store: str
    stormy: bool
    faults: Sequence[Fault]

    def __str__(self) -> str:
        place = "behind proxies" if self.stormy else "directly connected"
        return "\n".join([f"seed {self.seed}, {self.store}, {place}:", *map(str, self.faults)])


def drawn(seed: int, cycles: int, store: str, longest: float, scale: float = 1.0) -> Plan:
    """A plan of so many faults. `longest`: seconds of the longest stop; `scale` shortens every time."""
    dice = random.Random(seed)
    stormy = dice.random() < 0.5
    servers = [name for name in SERVERS if name != "postgresql" or store == "postgresql"]
    faults: list[Fault] = []
    at, busy_until = 1.0, dict[str, float]()
    for _ in range(cycles):
        at += dice.uniform(*PAUSE_SECONDS)
        storm = stormy and dice.random() < STORMY_SHARE
        victims = [*servers, "sandbox"] if storm else [*ROLES, *servers]
        victim = dice.choice([name for name in victims if busy_until.get(name, 0.0) < at] or victims)
        harm = dice.choice(STORMS) if storm else dice.choice(list(Harm))
        seconds = dice.uniform(*AWAY_SECONDS) if harm is Harm.KILL else _stretch(dice, longest)
        faults.append(Fault(at * scale, victim, harm, seconds * scale))
        busy_until[victim] = at + seconds
        at += 0.0 if dice.random() < OVERLAPPING_SHARE else seconds
    return Plan(seed, store, stormy, faults)


def _stretch(dice: random.Random, longest: float) -> float:
    """From one second to the longest; short ones are as likely as long ones, by their order of magnitude."""
    return math.exp(dice.uniform(math.log(SHORTEST_SECONDS), math.log(max(longest, SHORTEST_SECONDS))))
