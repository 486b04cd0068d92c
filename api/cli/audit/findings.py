"""What an audit finds: bounded in memory, however much is wrong."""

import threading
from dataclasses import dataclass, field

LISTED = 1_000


@dataclass(slots=True)
class Findings:
    """The first ones, and how many there are. Any thread may add one."""

    listed: list[str] = field(default_factory=list)
    count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, text: str) -> None:
        with self._lock:
            self.count += 1
            if len(self.listed) < LISTED:
                self.listed.append(text)
