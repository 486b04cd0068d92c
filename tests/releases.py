"""Earlier states of the code, from the repository's own history, to run beside this one."""

import io
import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("domain", "projections", "consumers", "api", "infra")


class NoHistory(Exception):
    """The repository was cloned without it, or there is none."""


def newest_release() -> str:
    """The newest tag; while nothing has been released, the code as it was before tracing. Raises NoHistory."""
    return _git("describe", "--tags", "--abbrev=0", "HEAD^", missing_is_empty=True) or before("infra/tracing.py")


def before(file: str) -> str:
    """The commit before the one that brought a file. Raises NoHistory."""
    return _git("rev-parse", f"{_git('log', '--diff-filter=A', '--format=%H', '-1', '--', file)}^")


def unpack(commit: str, folder: Path) -> Path:
    """Its packages in a new folder below, which may go before ours in PYTHONPATH. Gives that folder."""
    packed = subprocess.check_output(["git", "archive", commit, *PACKAGES], cwd=ROOT)
    unpacked = folder / f"release-{commit[:12].replace('/', '-')}"
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(unpacked, filter="data")
    return unpacked


def _git(*arguments: str, missing_is_empty: bool = False) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    told = done.stdout.strip()
    if missing_is_empty or (done.returncode == 0 and told):
        return told
    raise NoHistory(f"git {' '.join(arguments)}: {done.stderr.strip() or 'nothing there'}")
