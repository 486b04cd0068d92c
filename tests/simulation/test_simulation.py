"""A few seeds of `make simulate`, which is the long form: clean, the same each time, and told when one breaks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.planted import BUGS

ROOT = Path(__file__).parents[2]
SEEDS = 20  # `.ci/run` runs 1,000, and whoever wants to know 100,000


def simulated(*arguments: str) -> tuple[int, str]:
    """The exit code, and what it told."""
    command = [sys.executable, "-m", "tests.simulation", "--processes", "1", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.timeout(300)
def test_no_promise_is_broken() -> None:
    code, told = simulated("--seeds", str(SEEDS))
    assert (code, "seed " in told) == (0, False), told
    assert re.search(rf"^{SEEDS} seeds, \d\d+ applications, [\d,]{{5,}} steps in \d+ s: 0 broke", told, re.MULTILINE)


def test_each_planted_bug_fits_the_code() -> None:
    """`make test` looks whether each is found, which takes minutes."""
    for bug in BUGS:
        code = ROOT.joinpath(*bug.module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
        assert code.count(bug.old) == 1, bug.name


def test_a_seed_replays_exactly() -> None:
    told = [simulated("--seed", "11")[1] for _ in range(2)]
    assert told[0] == told[1]
    assert "application.job_attempted" in told[0]
    assert told[0].splitlines()[-1].startswith("seed 11: clean")
    assert simulated("--seed", "12")[1] != told[0]


def test_a_seed_that_breaks_a_promise_is_told_and_breaks_it_again() -> None:
    bug = ("--plant", "an attempt is not in the log when the portal is called")
    code, told = simulated("--seeds", "8", "--until-broken", *bug)
    assert code == 1
    found = re.search(
        r"^seed (\d+): (at [\d.]+ s: .* was sent 1 times, and 0 attempts are in the log)$", told, re.MULTILINE
    )
    assert found, told
    code, again = simulated("--seed", found[1], *bug)
    assert code == 1
    assert f"seed {found[1]}: {found[2]}" in again


def test_it_restarts_itself_so_that_sets_are_walked_in_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    told = set()
    for seed in ("1", "2", "random"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        told.add(simulated("--seed", "3")[1])
    assert len(told) == 1
    assert os.environ["PYTHONHASHSEED"] == "random"
