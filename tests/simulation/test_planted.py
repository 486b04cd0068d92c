"""Every planted bug is found: by the simulation where it can be, else by the tests that are named for it."""

import os
import subprocess
import sys
from importlib.abc import InspectLoader
from pathlib import Path

import pytest

import consumers.application_run  # noqa: F401  so that it is there
import domain
from tests.simulation.planted import BUGS, VARIABLE, Bug, Planter, plant

ROOT = Path(__file__).parents[2]
LEAST = 15


def ran(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | more
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def found_by_simulation(bug: Bug) -> bool:
    arguments = ["--seeds", str(bug.seeds), "--until-broken", "--processes", "1", "--plant", bug.name]
    done = ran("tests.simulation", *arguments)
    assert done.returncode == 0 or "\nseed " in f"\n{done.stdout}", done.stdout + done.stderr  # else it has crashed
    return done.returncode == 1


def found_by_tests(bug: Bug) -> bool:
    done = ran("pytest", "-q", "-x", "-p", "tests.simulation.planted", "-p", "no:cacheprovider", *bug.tests,
               **{VARIABLE: bug.name})  # fmt: skip
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.returncode == 1


@pytest.mark.timeout(400)
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "_"))
def test_it_is_found(bug: Bug) -> None:
    found = found_by_simulation(bug) if bug.seeds else found_by_tests(bug)
    assert found, f"nobody noticed that {bug.name}"


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= LEAST
    assert all(bool(bug.seeds) != bool(bug.tests) for bug in BUGS)


def test_one_that_does_not_fit_the_code_any_more_is_an_error() -> None:
    stale = Bug("stale", "domain.retry", "what stands nowhere", "")
    spec = Planter(stale).find_spec("domain.retry", domain.__path__)
    assert spec is not None
    assert isinstance(spec.loader, InspectLoader)
    with pytest.raises(LookupError, match="'stale' does not fit any more"):
        spec.loader.get_code("domain.retry")


def test_one_whose_module_is_there_already_is_an_error() -> None:
    assert "consumers.application_run" in sys.modules
    with pytest.raises(LookupError, match="imported already"):
        plant("an attempt is not in the log when the portal is called")
