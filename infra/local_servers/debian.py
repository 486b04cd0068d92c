"""Debian's packages, unpacked into the cache folder: without root, and without a change to the system.

apt works on lists and a cache of its own, so signatures and hashes are checked as ever and the system's stay untouched;
what it would install for the wanted packages, and nothing that is installed already, is fetched and unpacked.

Two processes at once: one unpacks under a lock, the other waits and finds it done. All happens in a folder beside the
final one, which gets its name last: a kill leaves that folder behind, and the next one to hold the lock removes it.
The result is kept until the cache folder is removed.
"""

import fcntl
import logging
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from infra.local_servers.diagnosis import disk_full, is_disk_full
from infra.local_servers.errors import LocalServerError

logger = logging.getLogger(__name__)

FETCH_SECONDS = 600.0
POLL_SECONDS = 0.2
NEVER = re.compile(r"libc6|libc-bin|libgcc-s1|gcc-\d+-base|libllvm.*|libz3.*")  # the system's own; PostgreSQL's JIT

COMPLAINT = re.compile(r"^(?:E|W): (.+)$", re.MULTILINE)

APT_CONFIGURATION = """\
Dir::State::Lists "{place}/lists";
Dir::Cache "{place}/archives";
APT::Sandbox::User "";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
Acquire::Languages "none";
#clear APT::Update;
#clear DPkg;
"""  # the last two: the system's hooks would work on the system


@dataclass(frozen=True, slots=True)
class Packages:
    """What to unpack: `wanted`, and what these need.

    Of their needs, those whose name begins with `family` are fetched even if installed, so that all is in one place.
    """

    name: str  # of the server
    wanted: Sequence[str]
    family: str
    advice: str  # what to do where they cannot be had


def unpacked(packages: Packages, cache: Path, finish: Callable[[Path, Path], None] = lambda _now, _later: None) -> Path:
    """The root folder of the unpacked packages; fetches them once. Blocks. Raises LocalServerError.

    `finish` gets the folder as it is now and as it will be called, before it gets that name.
    """
    place = cache / f"{packages.name.lower()}-{_system()}"
    if place.is_dir():
        return place
    if not cache.exists():
        cache.mkdir(parents=True, exist_ok=True)
        cache.chmod(0o755)  # whatever our umask: PostgreSQL's user reads it, where we are root
    with _lock(packages, place):
        if not place.is_dir():
            logger.info("%s is not installed: unpacking Debian's packages into %s", packages.name, place)
            _unpack(packages, place, finish)
    return place


@contextmanager
def _lock(packages: Packages, place: Path) -> Iterator[None]:
    lock = os.open(f"{place}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + FETCH_SECONDS
    try:
        while not _locked(lock):
            if time.monotonic() > deadline:
                raise LocalServerError(
                    f"{packages.name} is still being unpacked into {place} by another process: wait for it, or stop it"
                )
            time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unpack(packages: Packages, place: Path, finish: Callable[[Path, Path], None]) -> None:
    beginning = f".{place.name}-"
    for left_behind in place.parent.glob(f"{beginning}*"):
        shutil.rmtree(left_behind, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=beginning, dir=place.parent))
    try:
        root = work / "root"
        root.mkdir(mode=0o755)
        apt = _Apt(packages, work)
        for package in apt.fetch():
            apt.run(["dpkg-deb", "--extract", str(package), str(root)])
        finish(root, place)
        os.sync()  # a name that survives a loss of power, but not what it names, would never be mended
        root.replace(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Apt:
    """apt with lists, cache and configuration of its own, all below `work`."""

    packages: Packages
    work: Path
    complaints: list[str] = field(default_factory=list)  # of all runs, in their order

    def fetch(self) -> list[Path]:
        for folder in ("lists/partial", "archives/archives/partial", "packages"):
            (self.work / folder).mkdir(parents=True)
        self._configuration.write_text(APT_CONFIGURATION.format(place=self.work))
        self._apt("get", "update", may_fail=True)  # some other source that the machine has may be gone
        self._apt("get", "download", *self._names(), folder=self.work / "packages")
        return sorted((self.work / "packages").glob("*.deb"))

    def run(self, words: list[str], *, may_fail: bool = False, folder: Path | None = None) -> str:
        """What it printed. Bounded in time; a failure is told with what apt complained of until now."""
        name, advice = self.packages.name, self.packages.advice
        program = shutil.which(words[0])
        if program is None:
            raise LocalServerError(f"{name} is not installed, and this is no Debian ({words[0]} is missing): {advice}")
        try:
            done = _printed([program, *words[1:]], folder or self.work)
        except subprocess.TimeoutExpired as error:
            raise LocalServerError(f"{name}: {words[0]} took longer than {FETCH_SECONDS:g} s: {advice}") from error
        self.complaints.extend(COMPLAINT.findall(done.stderr))
        if done.returncode and not may_fail:
            if is_disk_full(done.stderr):
                raise disk_full(name, self.work.parent)
            raise self._refusal(f"{words[0]} ended with exit code {done.returncode}")
        return done.stdout

    def _refusal(self, otherwise: str) -> LocalServerError:
        """By the first complaint, mostly the cause (no network, say), and the last."""
        reason = "; ".join(dict.fromkeys([*self.complaints[:1], *self.complaints[-1:]])) or otherwise
        name, wanted, advice = self.packages.name, ", ".join(self.packages.wanted), self.packages.advice
        return LocalServerError(f"{name} is not installed, and Debian's {wanted} cannot be had ({reason}): {advice}")

    def _names(self) -> list[str]:
        """The wanted, their relatives, and what of the rest of their needs is not installed."""
        kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
        none_of = [f"--no-{kind}" for kind in kinds]
        wanted = self.packages.wanted
        needs = self._apt("cache", "depends", "--recurse", *none_of, *wanted)
        relatives = re.findall(rf"^({re.escape(self.packages.family)}[a-z0-9.+-]*)$", needs, re.MULTILINE)
        trial = self._apt("get", "--simulate", "--no-install-recommends", "install", *wanted, may_fail=True)
        missing = re.findall(r"^Inst (\S+) \(", trial, re.MULTILINE)
        return sorted(name for name in {*wanted, *relatives, *missing} if not NEVER.fullmatch(name))

    def _apt(self, program: str, *words: str, may_fail: bool = False, folder: Path | None = None) -> str:
        command = [f"apt-{program}", "-q", "-c", str(self._configuration), *words]
        return self.run(command, may_fail=may_fail, folder=folder)

    @property
    def _configuration(self) -> Path:
        return self.work / "apt.conf"


def _printed(words: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},  # proxies stand in ours
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=FETCH_SECONDS,
        check=False,
    )


def _system() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    return "-".join((release.get("ID", "linux"), release.get("VERSION_ID", "unknown"), platform.machine()))
