"""The run book: a section for every alert, and commands that exist."""

import re

import pytest

from infra.event_schemas import released
from tests.deploy.promql import declared, rules_of
from tests.deploy.tools import DEPLOY, MONITORING, ROOT
from tests.published import PUBLISHED

RUNBOOK = (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8")
CLI = (PUBLISHED / "cli.md").read_text(encoding="utf-8")
RULES = {
    rule["alert"]: rule
    for file in ("prometheus-alerts.yaml", "loki-rules.yaml")
    for rule in rules_of(MONITORING / file)
}
TOOLS = {"curl", "grep", "head", "jq", "kubectl", "sort", "tail", "uniq"}  # everybody's
TOOLS |= {"base64", "export", "mongosh", "psql", "rabbitmq-diagnostics", "rabbitmqctl"}
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"^\$ (.+)$", RUNBOOK, re.MULTILINE)


def test_every_alert_has_a_section_and_every_section_an_alert() -> None:
    assert SECTIONS.keys() == RULES.keys()


@pytest.mark.parametrize("alert", RULES)
def test_the_alert_leads_to_its_section_and_that_says_what_it_means_and_a_command(alert: str) -> None:
    file, _, anchor = RULES[alert]["annotations"]["runbook_url"].partition("#")
    assert ROOT / file == DEPLOY / "RUNBOOK.md"
    assert anchor == alert.lower(), "as renderers of Markdown make it from the heading"
    assert "**Means**" in SECTIONS[alert]
    assert "\n$ " in SECTIONS[alert]


def test_links_lead_to_sections() -> None:
    told = set(re.findall(r"\]\(#([\w-]+)\)", RUNBOOK))
    assert told <= {alert.lower() for alert in SECTIONS}


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_its_command_is_one_of_ours_or_a_known_tool(command: str) -> None:
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "TEXT", command)
    for part in re.split(r" \| ", bare):
        program, *words = part.split()
        if program == "app-manager":
            assert re.search(rf"`{re.escape(words[0])}\b", CLI), command
        else:
            assert program in TOOLS, command


@pytest.mark.parametrize("words", sorted(set(re.findall(r"app-manager ([a-z]+(?: [a-z]+)*)", RUNBOOK))))
def test_our_own_commands_are_published(words: str) -> None:
    first, *more = words.split()
    told = re.findall(rf"`(?:app-manager )?{first}\b[^`]*`", CLI)
    assert told
    assert all(any(word in line for line in told) for word in more), words


def test_paths_of_the_api_are_published() -> None:
    http = (PUBLISHED / "http.md").read_text(encoding="utf-8")
    for path in set(re.findall(r"\$API(/[\w/]+)", RUNBOOK)):
        assert f"`{path}" in http or f" {path}" in http, path


def test_kubernetes_names_are_those_of_the_manifests() -> None:
    base = DEPLOY / "kubernetes" / "base"
    for name in set(re.findall(r"(?<![\w/])deploy/(\w+)", RUNBOOK)):
        assert (base / f"{name}.yaml").exists(), name
    for name in set(re.findall(r"-n ([\w-]+)", RUNBOOK)):
        assert f"name: {name}\n" in (base / "namespace.yaml").read_text(encoding="utf-8")


LOGS = [command for command in COMMANDS if " logs " in command]


@pytest.mark.parametrize("command", LOGS)
def test_logs_are_those_of_every_pod_and_jq_can_read_them(command: str) -> None:
    assert " -l " in command
    assert " --tail=" in command, "else ten lines of each"
    assert " | jq" not in command or "--prefix" not in command
    assert "--previous" not in command or "--ignore-errors" in command, "most pods have none"


def test_what_an_autoscaler_numbers_is_not_scaled_by_hand() -> None:
    scaled = re.findall(r"scale deploy/(?:api|worker) --replicas=(\d+)", "\n".join(COMMANDS))
    assert set(scaled) == {"0", "2"}, "workers: none, and again from none"


def test_what_is_asked_for_is_there() -> None:
    types = set(re.findall(r"--type (\S+)", RUNBOOK))
    names = set(re.findall(r"metrics --filter (\w+)$", RUNBOOK, re.MULTILINE))
    assert types <= released().keys()
    assert all(any(known.startswith(name) for known in declared()) for name in names)
    assert types
    assert names
