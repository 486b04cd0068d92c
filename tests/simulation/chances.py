"""What goes wrong, and when: all of it drawn from one seed, so that one integer replays a run."""

from dataclasses import dataclass, field
from random import Random

STORM_SECONDS = (2.0, 12.0)  # how long things go wrong

KINDS = ("kill", "fuse", "pause", "freeze", "stop", "log", "broker", "purge", "view", "drop", "portal", "wakeups")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that happens at an instant of the storm. `pick` and `seconds` mean something for some kinds only.

    kill, fuse: a process dies at once, or after some of its steps; pause, freeze: it is stopped at once, or after some
    of its steps, and goes on later; stop: it is told to stop. log, broker, view, portal: that server is away. purge:
    the processing queue is emptied; drop: a read model's collection is dropped; wakeups: readers of the log are not
    told of commits.
    """

    at: float
    kind: str
    pick: float
    seconds: float


@dataclass(slots=True)
class Chances:
    """`now` is set by the world, `until` ends the storm."""

    seed: int
    random: Random = field(init=False)
    storm: bool = True
    level: float = field(init=False)  # how often a single call goes wrong, of all calls
    until: float = field(init=False)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.level = self.random.choice((0.0, 0.004, 0.02, 0.08))
        self.until = self.random.uniform(*STORM_SECONDS)

    @classmethod
    def none(cls) -> "Chances":
        """Nothing goes wrong."""
        chances = cls(0)
        chances.storm, chances.level = False, 0.0
        return chances

    def faults(self) -> list[Fault]:
        """What happens to whole processes and servers, in its order."""
        random = self.random
        drawn = [
            Fault(
                random.uniform(0, self.until),
                random.choice(KINDS),
                random.random(),
                random.choice((0.05, 0.5, 2.0, 7.0)) * random.uniform(0.5, 1.5),
            )
            for _ in range(random.choice((0, 1, 2, 3, 5, 9)))
        ]
        return sorted(drawn, key=lambda fault: fault.at)

    def clock_step(self) -> tuple[float, float] | None:
        """When the log's clock is set, and by how many seconds: leases run out for others before they do for who holds
        them, or later. Drawn apart, so that the other draws of a seed are those that it always had.
        """
        random = Random(f"clock {self.seed}")
        if random.random() < 0.75:
            return None
        return random.uniform(0, self.until), random.choice((-2.0, 2.0, 4.0, 8.0))

    def happens(self, times: float = 1.0) -> bool:
        """Whether a single call goes wrong."""
        return self.storm and self.level > 0.0 and self.random.random() < self.level * times

    def one_of(self, *choices: str) -> str:
        return self.random.choice(choices)

    def latency(self) -> float:
        """Seconds for one way; now and then a long one."""
        drawn = self.random.random()
        if self.storm and drawn > 0.98:
            return drawn - 0.9  # a tenth of a second
        return 0.0005 + drawn * 0.003
