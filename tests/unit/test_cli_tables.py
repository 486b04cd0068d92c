"""The command line and its published tables, compared both ways (contract cli.md)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import typer.main

from api.cli import ending
from api.cli.client.keys import KEYS, written
from api.cli.main import app
from tests.published import ADDED, PUBLISHED, codes, table

ROOT: Any = typer.main.get_command(app)
COMPLETION = {"--install-completion", "--show-completion"}  # typer's own
SERVICE = {"up", "serve", "project", "relay", "work", "sandbox", "token", "projections", "audit", "schema"}  # section 5


def options(command: Any) -> set[str]:
    """All forms of each, but `--help`."""
    found = [
        name for one in command.params if one.param_type_name == "option" for name in one.opts + one.secondary_opts
    ]
    return set(found) - {"--help"}


def arguments(command: Any) -> list[str]:
    return [one.metavar for one in command.params if one.param_type_name == "argument"]


def commands(group: Any = ROOT, *before: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *before, name)
        else:
            yield " ".join((*before, name)), command


def forms(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))


def published() -> Mapping[str, tuple[set[str], list[str]]]:
    """Each client command with its options and its arguments."""
    text = (PUBLISHED / "cli.md").read_text(encoding="utf-8")
    lines = re.findall(r"^`app-manager ((?:health|metrics) .*?)`", text, re.MULTILINE)
    lines += [
        codes(row["Command"])[0]
        for section in ("apps", "queue", "export", "config")
        for row in table("cli.md", section)
    ]
    [filters] = re.findall(r"^Filters: (.*?) → ", text, re.MULTILINE)
    told = {}
    for line in lines:
        name = re.split(r" (?=[^a-z])| (?=KEY)", line, maxsplit=1)[0]
        given = forms(line) | (forms(filters.replace("/", " ")) if "[filters]" in line else set())
        told[name] = given, re.findall(r"(?:<(\w+)>|(?<= )(KEY|VALUE)\b)", line)
    return {name: (given, [(a or b).upper() for a, b in found]) for name, (given, found) in told.items()}


def test_every_published_command_is_there_and_none_besides() -> None:
    assert {name for name, _ in commands() if name.split()[0] not in SERVICE} == published().keys()


@pytest.mark.parametrize("name", published())
def test_a_command_takes_the_published_options_and_arguments(name: str) -> None:
    given, taken = published()[name]
    command = dict(commands())[name]
    assert options(command) == given
    assert arguments(command) == taken


def test_the_global_options_are_the_published_ones_each_with_its_variable() -> None:
    rows = table("cli.md", "1. Global")
    assert options(ROOT) == set().union(*(forms(row["Option"]) for row in rows)) - {"--help"} | COMPLETION
    for row in rows:
        for variable in codes(row["Env variable"]):
            [option] = [one for one in ROOT.params if set(one.opts) == forms(row["Option"])]
            assert variable in option.help


def test_the_settings_are_the_published_ones() -> None:
    rows = table("cli.md", "2. Settings and file")
    assert [
        (codes(row["Key for `config`"]), codes(row["Short form"]), codes(row["Env variable = key in the file"])[0])
        for row in rows
    ] == [([key.name], [key.short] if key.short else [], key.variable) for key in KEYS]
    defaults = {key.name: written(key.read(key.default)) if key.default else "none" for key in KEYS}
    assert defaults == {codes(row["Key for `config`"])[0]: row["Default"].strip("`") for row in rows}


def test_the_exit_codes_are_the_published_ones() -> None:
    told = {int(row["Exit code"]) for row in table("cli.md", "3. Output rules", 2)}
    assert told == {ending.DONE, ending.FAILED, ending.USAGE, ending.INTERRUPTED}


def test_the_exit_code_that_only_roles_have_is_the_added_one() -> None:
    added = re.findall(r"^\| (\d+) \|", (ADDED / "cli.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(code) for code in added] == [ending.CRASHED]


def test_every_command_and_option_says_what_it_is_for() -> None:
    for name, command in commands():
        assert command.help, name
        assert all(one.help for one in command.params if one.name != "help"), name
