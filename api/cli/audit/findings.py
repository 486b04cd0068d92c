"""What an audit finds: bounded in memory, however much is wrong."""

from dataclasses import dataclass, field

LISTED = 1_000


@dataclass(slots=True)
class Findings:
    """The first ones, and how many there are."""

    listed: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.listed) < LISTED:
            self.listed.append(text)

    def then(self, others: "Findings") -> "Findings":
        """These before the others."""
        return Findings([*self.listed, *others.listed][:LISTED], self.count + others.count)
