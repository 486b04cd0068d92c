"""The image: hadolint, what goes into it, and its steps in an empty folder as far as they go without a container."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.deploy.dockerfile import build, context, instructions
from tests.deploy.tools import ROOT, accepted, run

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IGNORE = (ROOT / ".dockerignore").read_text(encoding="utf-8")
PACKAGES = ("domain", "projections", "consumers", "api", "infra")
PYTHON = re.search(r"^FROM python:([\d.]+)-slim", DOCKERFILE, re.MULTILINE)
BUILD_LOCK = "infra/deploy/requirements-build.txt"
SOURCE_ONLY = "quantile-python"
INSTALLING = pytest.mark.timeout(600)  # where packages come slowly
SECRETS = (".env", ".data/services.env", "api/.env", "infra/.data/key.pem", "infra/deploy/kubernetes/secrets.env")


def tracked() -> list[str]:
    told = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    return told.splitlines()


def test_hadolint_has_nothing_to_say() -> None:
    accepted(run("hadolint", "Dockerfile"))


def test_what_goes_into_the_image_is_the_packages_and_no_secret() -> None:
    sent = context([*tracked(), *SECRETS, ".git/config", "api/__pycache__/app.cpython-313.pyc"], IGNORE)
    code = {name for name in tracked() if name.startswith(PACKAGES) and not name.startswith("infra/deploy")}
    locks = {"requirements.txt", "infra/deploy/requirements-build.txt"}
    assert set(sent) == code | locks | {"pyproject.toml", "README.md", "LICENSE"}


def test_it_runs_without_root_and_names_all_that_it_writes_to() -> None:
    told = {step.name: step.words for step in instructions(DOCKERFILE) if step.stage == 1}
    user, _, group = told["USER"].partition(":")
    assert user == group
    assert int(user) >= 10_000
    assert told["VOLUME"] == f'["{told["WORKDIR"]}/.data"]'
    assert told["ENTRYPOINT"] == '["app-manager"]'
    assert told["CMD"] == '["serve"]'


def test_its_label_tells_the_version_of_the_package() -> None:
    assert f'org.opencontainers.image.version="{version("application-manager-service")}"' in DOCKERFILE


def test_its_python_is_one_that_the_package_supports() -> None:
    assert PYTHON
    assert DOCKERFILE.count(f"FROM python:{PYTHON[1]}-slim") == 2
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    assert f"Programming Language :: Python :: {PYTHON[1]}" in classifiers


@pytest.mark.parametrize("platform", ["x86_64-manylinux_2_36", "aarch64-manylinux_2_36"])
def test_every_locked_package_has_a_wheel_for_its_python(platform: str, tmp_path: Path) -> None:
    assert PYTHON
    options = ["--python-version", PYTHON[1], "--python-platform", platform, "--only-binary", ":all:"]
    options += ["--no-binary", SOURCE_ONLY]
    options += ["--require-hashes", "--no-deps", "--target", str(tmp_path), "-r", "requirements.txt"]
    accepted(run("uv", "pip", "install", "--dry-run", "--no-config", "--quiet", *options, environment=_network()))


def test_what_builds_it_is_locked_too() -> None:
    locked = [(ROOT / name).read_text(encoding="utf-8") for name in ("requirements-dev.txt", BUILD_LOCK)]
    developers, image = (dict(re.findall(r"^(\S+?)==(\S+)", text, re.MULTILINE)) for text in locked)
    assert image["poetry-core"] == developers["poetry-core"]
    assert set(image) == {"poetry-core", "setuptools"}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The image's `/` after the first stage, made from what .dockerignore lets through."""
    if "BUILD_IMAGE" not in os.environ:
        pytest.skip("installs all that the image holds: `make check-deploy` does it")
    folder = tmp_path_factory.mktemp("image")
    source, root = folder / "source", folder / "root"
    root.mkdir()
    for name in context(tracked(), IGNORE):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    build(DOCKERFILE, source, root)
    shutil.rmtree(source)
    shutil.rmtree(root / "build")
    yield root
    shutil.rmtree(folder)


@INSTALLING
def test_the_steps_make_a_package_with_every_file_of_the_code(image: Path) -> None:
    [installed] = image.glob("app/lib/python3*/site-packages")
    found = {
        path.relative_to(installed).as_posix()
        for package in PACKAGES
        for path in (installed / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert found == {name for name in tracked() if name.startswith(PACKAGES) and not name.startswith("infra/deploy")}
    assert not (installed / "pip").exists()
    assert not (installed / "tests").exists()


@INSTALLING
def test_what_was_made_runs_outside_of_the_checkout(image: Path, tmp_path: Path) -> None:
    program = image / "app/bin/app-manager"
    environment = {"PATH": f"{image}/app/bin", "SECRET_KEY": "k" * 40}
    told = accepted(run(program, "--version", folder=tmp_path, environment=environment))
    assert told == f"app-manager version {version('application-manager-service')}\n"
    assert accepted(run(program, "token", "ada", folder=tmp_path, environment=environment)).count(".") == 2
    python = image / "app/bin/python"
    assert accepted(run(python, "-P", "-m", "infra.health_probe", folder=tmp_path, environment=environment)) == ""


def _network() -> dict[str, str]:
    """How this machine reaches packages."""
    return {name: text for name, text in os.environ.items() if name.lower().startswith(("uv_", "ssl_", "http", "no_"))}
