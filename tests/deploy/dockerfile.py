"""Reads the Dockerfile and .dockerignore, and does in a folder what a builder does in a container.

COPY and RUN of the first stage are done for real, with the image's paths below that folder. What needs root or an
image (the base, users, the second stage's RUN) is left to a container engine. `--no-cache-dir` is taken out of pip's
commands: a builder starts with no cache.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SECONDS = 300
PLACES = ("tools", "app", "build")  # the folders of the image that the first stage makes


@dataclass(frozen=True, slots=True)
class Instruction:
    stage: int
    name: str
    words: str


def instructions(text: str) -> Iterator[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    stage = -1
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, words = line.strip().partition(" ")
            stage += name == "FROM"
            yield Instruction(stage, name, words.strip())


def context(files: Iterable[str], ignore: str) -> list[str]:
    """Of the files of a folder, those that go to the builder: the last pattern that fits one or its folder decides."""
    patterns = [line for line in ignore.splitlines() if line.strip() and not line.startswith("#")]
    rules = [(not line.startswith("!"), _pattern(line.removeprefix("!"))) for line in patterns]
    return [file for file in files if not _ignored(file, rules)]


def _ignored(file: str, rules: Iterable[tuple[bool, re.Pattern[str]]]) -> bool:
    ignored = False
    for excludes, pattern in rules:
        if pattern.fullmatch(file):
            ignored = excludes
    return ignored


def _pattern(line: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*)", line.strip("/"))
    known = {"**/": "(?:.*/)?", "*": "[^/]*"}
    return re.compile("".join(known.get(part, re.escape(part)) for part in parts) + "(?:/.*)?")


def build(dockerfile: str, source: Path, root: Path) -> None:
    """Does the first stage's steps; `root` is the image's `/`."""
    folder, programs = root, root / "programs"
    programs.mkdir()
    (programs / "python").symlink_to(getattr(sys, "_base_executable", sys.executable))
    for step in instructions(dockerfile):
        if step.stage > 0:
            return
        if step.name == "WORKDIR":
            folder = root / step.words.strip("/")
            folder.mkdir(parents=True, exist_ok=True)
        elif step.name == "COPY":
            *sources, target = step.words.split()
            for name in sources:
                _copy(source / name, folder / target)
        elif step.name == "RUN":
            _run(step.words, folder, root)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy(source, target if target.is_dir() else target.parent)


def _run(words: str, folder: Path, root: Path) -> None:
    here = re.sub(rf"(?<![\w./])/({'|'.join(PLACES)})\b", rf"{root}/\1", words).replace("--no-cache-dir ", "")
    ran = subprocess.run(
        ["sh", "-ec", here],
        cwd=folder,
        env={"PATH": f"{root}/programs:/usr/bin:/bin", "HOME": str(root), "PIP_CACHE_DIR": str(_pip_cache())},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if ran.returncode:
        raise AssertionError(f"RUN {words}\n{ran.stdout}{ran.stderr}")


def _pip_cache() -> Path:
    told = subprocess.check_output([sys.executable, "-m", "pip", "cache", "dir"], text=True, stderr=subprocess.DEVNULL)
    return Path(told.strip())
