"""The rules of this house that no tool checks, each with its reason. Who may import whom: `make check`."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE_LINES, FUNCTION_LINES = 400, 60
PURE = ("domain", "projections")
FOLDERS = {"domain", "projections", "consumers", "api", "infra", "tests"}
EXPECTED_AT_THE_ROOT = {  # by tools
    "pyproject.toml",
    "README.md",
    "Makefile",
    "requirements.txt",
    "requirements-dev.txt",
    "Dockerfile",
    "docker-compose.yml",
    "CHANGELOG.md",
    "LICENSE",
}
# In pieces, so that this file obeys the rule too.
REGISTRIES = [f"{name}.org" for name in ("pypi", "pythonhosted", "npmjs", "debian")]
MACHINE_PATH = re.compile(r"(?<![\w.$}~-])/(?:root|work|home/\w+|Users/\w+|opt/\w+)/")
OUTSIDE_OF_THE_LOG = {
    "sleep": "a rule that waits cannot be replayed",
    "now": "time comes in with the event",
    "utcnow": "time comes in with the event",
    "today": "time comes in with the event",
    "uuid1": "ids come in with the command",
    "uuid4": "ids come in with the command",
    "random": "a fold gives the same bytes each time",
    "secrets": "a fold gives the same bytes each time",
    "time": "time comes in with the event",
}


@cache
def tracked() -> tuple[Path, ...]:
    """What is, or would be, in the repository."""
    told = subprocess.check_output(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    return tuple(path for name in told.split("\0") if name and (path := ROOT / name).is_file())


@cache
def texts() -> dict[str, str]:
    found: dict[str, str] = {}
    for path in tracked():
        try:
            found[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture, a PDF
    return found


@cache
def modules() -> dict[str, ast.Module]:
    return {name: ast.parse(text) for name, text in texts().items() if name.endswith(".py")}


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def names_used(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Imported modules and names, and attributes of them: what `import time` and `datetime.now()` have in common."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
            case ast.ImportFrom(module=module):
                yield node.lineno, str(module).partition(".")[0]
                yield from ((node.lineno, alias.name) for alias in node.names)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="datetime" | "date" | "asyncio" | "uuid"), attr=name)):
                yield node.lineno, name
            case _:
                pass


def none(problems: Iterable[str]) -> None:
    """Each problem on a line of its own, if there is one."""
    if told := "\n".join(problems):
        pytest.fail(told, pytrace=False)


def test_a_module_is_one_purpose() -> None:
    none(
        f"{name} has {lines} lines, {MODULE_LINES} at most"
        for name in modules()
        if (lines := texts()[name].count("\n")) > MODULE_LINES
    )


def test_a_function_fits_a_screen() -> None:
    none(
        f"{name}:{function.lineno} {function.name} has {lines} lines, {FUNCTION_LINES} at most"
        for name, tree in modules().items()
        for function in functions(tree)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES
    )


def test_a_module_tells_what_it_is_for() -> None:
    none(f"{name} has no docstring" for name, tree in modules().items() if not ast.get_docstring(tree))


def test_rules_and_read_models_take_nothing_from_outside_the_log() -> None:
    none(
        f"{name}:{line} uses {used}: {OUTSIDE_OF_THE_LOG[used]}"
        for name, tree in modules().items()
        if name.startswith(PURE)
        for line, used in names_used(tree)
        if used in OUTSIDE_OF_THE_LOG
    )


def test_the_root_holds_the_six_folders_and_what_tools_expect() -> None:
    at_the_root = {name.partition("/")[0] for name in (path.relative_to(ROOT).as_posix() for path in tracked())}
    none(sorted(name for name in at_the_root - FOLDERS - EXPECTED_AT_THE_ROOT if not name.startswith(".")))


def test_every_folder_of_code_is_a_package() -> None:
    none(
        f"{folder} has no __init__.py"
        for folder in sorted({Path(name).parent.as_posix() for name in modules()} - {"."})
        if f"{folder}/__init__.py" not in texts()
    )


@pytest.mark.parametrize("host", REGISTRIES)
def test_no_file_names_a_package_registry(host: str) -> None:
    """Where packages come from is the machine's business: mirrors are common."""
    none(f"{name} names a registry's host" for name, text in texts().items() if host in text)


def test_no_file_knows_the_machine_that_it_was_written_on() -> None:
    none(
        f"{name}:{number} {found[0]}"
        for name, text in texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if (found := MACHINE_PATH.search(line))
    )


LOCK_LINE = re.compile(r"[a-z0-9.-]+(\[[a-z0-9, -]+\])?==[\w.+!]+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_the_lock_holds_versions_and_hashes_only(name: str) -> None:
    """An index address or a folder in it would make each install ask there."""
    entries = [line for line in texts()[name].splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in entries:
        assert LOCK_LINE.fullmatch(line), line


def test_what_the_developers_install_agrees_with_what_the_service_runs_on() -> None:
    service, developers = (
        set(re.findall(r"^\S+==\S+", texts()[name], re.MULTILINE))
        for name in ("requirements.txt", "requirements-dev.txt")
    )
    none(sorted(service - developers))


def test_no_folder_of_tests_is_left_out() -> None:
    """`pytest` alone walks through `testpaths`, which name an order."""
    paths = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["testpaths"]
    walked = {folder for path in paths for folder in ROOT.glob(path)}
    folders = {ROOT / "tests" / path.relative_to(ROOT / "tests").parts[0] for path in ROOT.glob("tests/**/test_*.py")}
    assert folders <= walked
