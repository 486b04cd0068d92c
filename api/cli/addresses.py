"""Where a setting points: which host and port, whether that is this machine, and whether anybody listens there."""

import errno
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_CONNECT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Address:
    """A host as it is named in a setting, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address_of(url: str, default_port: int) -> Address | None:
    """The one address in a URL, without user and password; None where it names several or none."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2]
    if not hosts or "," in hosts or parts.scheme.endswith("+srv"):
        return None
    try:
        return Address(parts.hostname or "", parts.port or default_port) if parts.hostname else None
    except ValueError:
        return None


def somebody_listens(address: Address) -> bool:
    """Tries to connect. Blocks for a second at most."""
    try:
        with socket.create_connection((address.host, address.port), timeout=_CONNECT_SECONDS):
            return True
    except OSError:
        return False


def why_not_free(address: Address) -> str | None:
    """Why nobody can listen there now; None if it is free."""
    problems: list[OSError] = []
    try:
        places = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        return error.strerror
    for family, kind, protocol, _, place in places:
        try:
            with socket.socket(family, kind, protocol) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(place)
        except OSError as error:
            problems.append(error)
    if any(problem.errno == errno.EADDRINUSE for problem in problems):
        return "it is taken"
    return problems[0].strerror if len(problems) == len(places) else None


def is_of_this_machine(host: str) -> bool:
    """Whether one of its interfaces has that number, or what the name leads to."""
    try:
        places = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    return any(_can_be_ours(family, place) for family, _, _, _, place in places)


def _can_be_ours(family: int, place: tuple[Any, ...]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(place)  # at any port, and nothing is sent
    except OSError:
        return False
    return True


def to_reach(host: str) -> str:
    """The host that reaches a server which listens on `host`: all addresses (`0.0.0.0`, `::`) include this one."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared, not listened on
