"""Debian's packages, unpacked into a folder: a small one, from Debian's mirror."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.local_servers import LocalServerError, free_port
from infra.local_servers.debian import Packages, unpacked

ROOT = Path(__file__).parents[2]

MIRROR_SECONDS = 180  # a mirror may be slow, and is asked for the lists of all its packages

HELLO = Packages("Hello", wanted=("hello",), family="hello", advice="say it yourself")

UNPACKER = """
import sys
from pathlib import Path
from infra.local_servers.debian import Packages, unpacked
print(unpacked(Packages("Hello", wanted=("hello",), family="hello", advice="say it yourself"), Path(sys.argv[1])))
"""

apt = pytest.mark.skipif(shutil.which("apt-get") is None, reason="only Debian and its kin have apt-get")


def unpacker(cache: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", UNPACKER, cache], cwd=ROOT, stdout=subprocess.PIPE, text=True)


@apt
@pytest.mark.timeout(3 * MIRROR_SECONDS)
def test_packages_are_unpacked_once_and_whole_after_a_kill_half_way_and_the_system_stays_as_it_is(folder: Path) -> None:
    systems = [Path("/var/lib/apt/lists"), Path("/var/cache/apt"), Path("/var/lib/dpkg")]
    before = [path.stat().st_mtime_ns for path in systems]
    with unpacker(folder) as killed:
        deadline = time.monotonic() + MIRROR_SECONDS
        while not list(folder.glob(".hello-*/apt.conf")) and time.monotonic() < deadline:
            time.sleep(0.01)
        killed.kill()
    assert list(folder.glob(".hello-*"))

    with unpacker(folder) as one, unpacker(folder) as two:
        places = {one.communicate(timeout=MIRROR_SECONDS)[0], two.communicate(timeout=MIRROR_SECONDS)[0]}
    (place,) = (Path(line.strip()) for line in places)
    said = subprocess.check_output([place / "usr/bin/hello"], text=True, env={"LC_ALL": "C"})
    assert said == "Hello, world!\n"
    assert sorted(path.name for path in folder.iterdir()) == [place.name, f"{place.name}.lock"]
    assert [path.stat().st_mtime_ns for path in systems] == before


@apt
def test_packages_that_do_not_exist_are_told_with_what_to_do(folder: Path) -> None:
    unknown = Packages("Hello", wanted=("hello-nobody",), family="hello", advice="say it yourself")
    with pytest.raises(LocalServerError, match=r"Debian's hello-nobody cannot be had \(.+\): say it yourself$"):
        unpacked(unknown, folder)
    assert not [path for path in folder.iterdir() if path.is_dir()], "a half-made folder would pass for a whole one"


@apt
def test_a_network_that_does_not_answer_is_told_with_its_own_words(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(LocalServerError, match=r"cannot be had \(Failed to fetch .*refused.*\): say it yourself$"):
        unpacked(HELLO, folder)


def test_a_system_without_apt_is_told_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(LocalServerError, match=r"no Debian \(apt-get is missing\): say it yourself$"):
        unpacked(HELLO, folder)
