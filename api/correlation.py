"""The id that joins all that one request leads to: answers, log lines, events, messages (contract http.md 1.3)."""

import random
import re
from uuid import UUID

from multidict import CIMultiDict, CIMultiDictProxy

HEADERS = ("X-Correlation-ID", "X-Request-ID")
ACCEPTED = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def correlation_id_of(headers: CIMultiDictProxy[str]) -> str:
    """The first acceptable one that the caller sent, else a new one."""
    for name in HEADERS:
        sent = headers.get(name)
        if sent is not None and ACCEPTED.fullmatch(sent):
            return sent
    return str(UUID(int=random.getrandbits(128), version=4))  # no secret; a system call would cost 9 us


def tell_correlation_id(headers: CIMultiDict[str], correlation_id: str) -> None:
    for name in HEADERS:
        headers[name] = correlation_id
