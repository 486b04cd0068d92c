"""Why a server did not start, from its exit and its log: one line that says what to do."""

import re
import signal
from pathlib import Path

from infra.local_servers.errors import LocalServerError, NotYetFree, PortTaken

SHOWN_LINES = 15

PACKAGES = {  # Debian's, for the libraries that the servers need
    "libcrypto.so.3": "libssl3",
    "libssl.so.3": "libssl3",
    "libcurl.so.4": "libcurl4",
    "libncursesw.so.6": "libncursesw6",
    "libtinfo.so.6": "libtinfo6",
    "libicuuc.so.72": "libicu72",
    "liblz4.so.1": "liblz4-1",
    "libpq.so.5": "libpq5",
    "libxml2.so.2": "libxml2",
}

LIBRARY = re.compile(r"error while loading shared libraries: ([^:\s]+):")
OLD_SYSTEM = re.compile(r"version `(GLIBC\w*_[\d.]+)' not found")
NOT_RUN = re.compile(r"cannot run (.+)")
PORT = re.compile(r"address already in use|eaddrinuse", re.IGNORECASE)
FULL = re.compile(r"no space left on device|\benospc\b", re.IGNORECASE)
OTHER_VERSION = re.compile(
    r"files are incompatible with server|Invalid featureCompatibilityVersion|UPGRADE PROBLEM|Wrong mongod version"
)
NO_SUCH_USER = re.compile(r"could not look up effective user ID (\d+)")
IN_USE = re.compile(r"DBPathInUse|pre-existing shared memory block")


def explain(name: str, folder: Path, port: int, exit_code: int, output: str) -> LocalServerError:
    """What to raise for a server that ended before it was ready. `output` is what it printed since this start."""
    known = _of_the_program(name, exit_code, output) or _of_the_place(name, folder, port, output)
    return known or LocalServerError(
        f"{name} ended with exit code {exit_code} before it was ready. Its last words:\n{output}"
    )


def _of_the_program(name: str, exit_code: int, output: str) -> LocalServerError | None:
    if found := LIBRARY.search(output):
        package = PACKAGES.get(found[1])
        hint = f"install it (Debian: {package})" if package else "install the package that holds it"
        return LocalServerError(f"{name} needs the library {found[1]}, which this machine lacks: {hint}")
    if found := OLD_SYSTEM.search(output):
        return LocalServerError(
            f"{name} needs {found[1]}, and this system's C library is older: use a newer system or its own {name}"
        )
    if found := NOT_RUN.search(output):
        return LocalServerError(f"{name} cannot be run: {found[1]}")
    if found := NO_SUCH_USER.search(output):
        return LocalServerError(
            f"{name} cannot run as the user {found[1]}, whom this system has no name for: add a user"
        )
    if exit_code == -signal.SIGILL:
        return LocalServerError(
            f"{name} needs a processor with AVX, which this machine lacks: name a {name} on another one"
        )
    return None


def _of_the_place(name: str, folder: Path, port: int, output: str) -> LocalServerError | None:
    if is_disk_full(output):
        return disk_full(name, folder)
    if OTHER_VERSION.search(output):
        return LocalServerError(
            f"the data in {folder} is of another version of {name}: install that version, or remove the folder"
        )
    if IN_USE.search(output):
        return NotYetFree(f"the data in {folder} is in use by another {name}: stop that one, or name another folder")
    if PORT.search(output):
        return port_taken(name, port)
    return None


def is_disk_full(output: str) -> bool:
    return FULL.search(output) is not None


def port_taken(name: str, port: int) -> PortTaken:
    return PortTaken(f"port {port} for {name} is taken by another program: stop that one, or choose another port")


def disk_full(name: str, folder: Path) -> LocalServerError:
    return LocalServerError(
        f"{name} has no room: the disk of {folder} is full; free some, or name a folder on another disk"
    )
