"""A heartbeat for a role that runs in the test's own process."""


class Beats:
    """Counts, and keeps what the role says of what it needs. It is a `Heartbeat` of consumers and projections."""

    def __init__(self) -> None:
        self.count = 0
        self.needs: dict[str, bool] = {}

    def beat(self) -> None:
        self.count += 1

    def says(self, need: str, well: bool) -> None:
        self.needs[need] = well
