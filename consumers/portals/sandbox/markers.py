"""How the sandbox portal is told to behave: markers in a job's title, or a mode for all (contract portals.md 3).

Several may stand together. Whether the portal takes, refuses or turns away is decided first. Then comes the manner of
the answer: late for all, dropped or left out only where the portal has decided, not where it turns away (503).
"""

import re
from dataclasses import dataclass
from typing import Self

LONGEST_SECONDS = 60.0

_MARKER = re.compile(
    r"\[(?:(?P<word>reject|down|hang|drop)|fail:(?P<fail>\d{1,9})|slow:(?P<slow>\d{1,9}(?:\.\d{1,9})?))\]",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Markers:
    reject: bool = False
    down: bool = False
    hang: bool = False
    drop: bool = False
    fail: int = 0  # deliveries of the entry that are turned away at first
    slow: float = 0.0  # seconds

    @classmethod
    def of(cls, title: str) -> Self:
        words, fail, slow = set(), 0, 0.0
        for marker in _MARKER.finditer(title):
            words.add((marker["word"] or "").lower())
            fail = max(fail, int(marker["fail"] or 0))
            slow = max(slow, float(marker["slow"] or 0))
        return cls(
            reject="reject" in words,
            down="down" in words,
            hang="hang" in words,
            drop="drop" in words,
            fail=fail,
            slow=min(slow, LONGEST_SECONDS),
        )

    def __or__(self, other: "Markers") -> "Markers":
        """Both together."""
        return Markers(
            reject=self.reject or other.reject,
            down=self.down or other.down,
            hang=self.hang or other.hang,
            drop=self.drop or other.drop,
            fail=max(self.fail, other.fail),
            slow=max(self.slow, other.slow),
        )
