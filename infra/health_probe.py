"""Asks the role in this container whether it is well: the image's HEALTHCHECK, one for every role (Dockerfile).

`python -m infra.health_probe live|ready` ends with 0 if it is, else with 1 and one line. Which role runs here stands in
the command line of process 1 (an init before it repeats it). It starts every few seconds, so it imports nothing of the
project and reads only the variables that say where the role listens; the role itself has checked them.
"""

import http.client
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

SECONDS = 4.0  # less than the HEALTHCHECK's own time-out, so that a reason is told
EVERYWHERE = {"", "0.0.0.0", "::"}  # noqa: S104  as an address to listen at, where we ask at 127.0.0.1


class Place(NamedTuple):
    """Where a role answers: what names its host and port, the port's default, what is asked (None: /health/...)."""

    host: str
    port: str
    default: int
    path: str | None = None


PLACES = {
    "serve": Place("HOST", "PORT", 8009),
    "work": Place("HOST", "WORKER_METRICS_PORT", 9109),
    "relay": Place("HOST", "RELAY_METRICS_PORT", 9110),
    "project": Place("HOST", "PROJECTOR_METRICS_PORT", 9111),
    "sandbox": Place("SANDBOX_PORTAL_HOST", "SANDBOX_PORTAL_PORT", 8019, "/summary"),
}


def place_of(command_line: Sequence[str]) -> Place | None:
    """That of the role which the command line runs; None if it runs none."""
    return next((PLACES[word] for word in command_line if word in PLACES), None)


def problem(place: Place, kind: str, variables: Mapping[str, str]) -> str | None:
    """What is wrong, in one line; None if all is well, or the role was told to listen nowhere."""
    port = int(variables.get(place.port) or place.default)
    if port == 0:
        return None
    host = variables.get(place.host, "")
    path = place.path or f"/health/{kind}"
    connection = http.client.HTTPConnection("127.0.0.1" if host in EVERYWHERE else host, port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{path} at port {port}: {str(error) or type(error).__name__}"
    finally:
        connection.close()
    return None if status == http.client.OK else f"{path} at port {port} answers {status}"


def main() -> int:
    kind = sys.argv[1] if sys.argv[1:] in (["live"], ["ready"]) else "live"
    place = place_of(Path("/proc/1/cmdline").read_text(encoding="utf-8").split("\0"))
    if place is None:
        return 0  # a command that is done soon, such as `token`
    if told := problem(place, kind, os.environ):
        print(told, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
