"""The tools that know the files of deployment: from the dev extra, or unpacked from Debian's packages."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from infra.local_servers import LocalServerError
from infra.local_servers.debian import Packages, unpacked
from infra.local_servers.folder import cache_folder

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "infra" / "deploy"
MONITORING = DEPLOY / "monitoring"
BIN = Path(sys.executable).parent
SECONDS = 300

PROMETHEUS = Packages("Prometheus", wanted=("prometheus",), family="prometheus", advice="install prometheus")
COMPOSE = Packages("docker-compose", wanted=("docker-compose",), family="docker-compose", advice="install it")

Ran = subprocess.CompletedProcess[str]


def run(*words: str | Path, folder: Path = ROOT, environment: Mapping[str, str] | None = None) -> Ran:
    """What a command said, however it ended. It sees no setting of ours but what is given."""
    return subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env={"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": os.environ["HOME"], **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def accepted(ran: Ran) -> str:
    """What it printed; fails the test, with all that it said, unless it ended well."""
    if ran.returncode:
        pytest.fail(f"{ran.args} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}", pytrace=False)
    return ran.stdout


def promtool() -> str:
    return shutil.which("promtool") or str(debian_packages(PROMETHEUS) / "usr/bin/promtool")


def debian_compose() -> tuple[Sequence[str], Mapping[str, str]]:
    """docker-compose 1.29, in Python: its command, and the environment that it needs."""
    place = debian_packages(COMPOSE)
    python = next(path for path in (place / "usr/bin/python3", Path("/usr/bin/python3")) if path.exists())
    libraries = place / "usr/lib/python3/dist-packages"
    return [str(python), str(place / "usr/bin/docker-compose")], {"PYTHONPATH": str(libraries)}


def debian_packages(packages: Packages) -> Path:
    """The folder that they are unpacked into."""
    if shutil.which("apt-get") is None:
        pytest.skip(f"{packages.name} comes from Debian, and this is none")
    try:
        return unpacked(packages, cache_folder())
    except LocalServerError as error:
        pytest.fail(str(error), pytrace=False)
