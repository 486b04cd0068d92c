"""A variable that is there but empty says nothing to `up`, nor to the commands beside it (contract cli.md 5)."""

from pathlib import Path

import pytest

from api.cli import up
from api.cli.servers import MONGODB, RABBITMQ, Place, place_of
from api.cli.services_env import write_services
from api.cli.settings_here import said_settings, settings_here
from api.cli.terminal import Terminal
from infra.settings import DEFAULT_SECRET_KEY, Settings
from tests.command_line import Shell

KEY = "a key that the last up has made, which is long enough"
EMPTY = ("SECRET_KEY", "MONGODB", "RABBITMQ_URL", "EVENT_STORE")


@pytest.fixture(autouse=True)
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path)


def say(monkeypatch: pytest.MonkeyPatch, place: str, text: str) -> None:
    if place == ".env":
        Path(".env").write_text("".join(f"{name.lower()}={text!r}\n" for name in EMPTY))
        return
    for name in EMPTY:
        monkeypatch.setenv(name, text)


both_places = pytest.mark.parametrize("place", [".env", "environment"])


@both_places
@pytest.mark.parametrize("text", ["", "  "])
def test_up_starts_its_own_and_makes_its_key_where_a_variable_is_empty(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, place: str, text: str
) -> None:
    given: list[Settings] = []

    async def run_up(settings: Settings, *, demo: bool, terminal: Terminal) -> int:
        given.append(settings)
        return 0

    monkeypatch.setattr(up, "run_up", run_up)
    say(monkeypatch, place, text)
    shell.run("up").ended_well()
    [settings] = given
    assert settings.model_fields_set == set()
    assert place_of(MONGODB, settings, {}) == Place(MONGODB, None)
    assert place_of(RABBITMQ, settings, {}) == Place(RABBITMQ, None)
    assert settings.model_dump() == Settings().model_dump()


def test_an_empty_variable_hides_what_the_file_says_and_not_the_other_way_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".env").write_text(f"MONGODB=mongodb://elsewhere.example\nSECRET_KEY=\nPORT=\nSECRET_KEY_OF_ANOTHER={KEY}\n")
    monkeypatch.setenv("MONGODB", "")
    monkeypatch.setenv("SECRET_KEY", KEY)
    settings = said_settings()
    assert settings.mongodb == "mongodb://localhost:27017"
    assert settings.secret_key.get_secret_value() == KEY
    assert settings.model_fields_set & {"mongodb", "secret_key"} == {"secret_key"}


@both_places
def test_other_commands_take_what_up_wrote_where_a_variable_is_empty(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    say(monkeypatch, place, "")
    assert settings_here().secret_key.get_secret_value() == DEFAULT_SECRET_KEY
    write_services({"SECRET_KEY": KEY, "MONGODB": "mongodb://127.0.0.1:4444/?replicaSet=rs0", "RABBITMQ_URL": ""})
    settings = settings_here()
    assert settings.secret_key.get_secret_value() == KEY
    assert settings.mongodb == "mongodb://127.0.0.1:4444/?replicaSet=rs0"
    assert settings.rabbitmq_url == Settings().rabbitmq_url
    assert KEY in settings.secrets


def test_what_is_said_goes_before_what_up_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    write_services({"SECRET_KEY": "another", "MONGODB": "mongodb://127.0.0.1:4444"})
    monkeypatch.setenv("SECRET_KEY", KEY)
    assert settings_here().secret_key.get_secret_value() == KEY
    assert settings_here().mongodb == "mongodb://127.0.0.1:4444"
