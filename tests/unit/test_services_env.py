"""`.data/services.env`: read alike by a shell and by the settings, and by nobody but its owner."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cli.ending import CommandFailed
from api.cli.services_env import read_services, secret_key_of, write_services
from infra.settings import DEFAULT_SECRET_KEY

VALUES = {
    "MONGODB": "mongodb://127.0.0.1:27017/?replicaSet=rs0&w=majority",
    "RABBITMQ_URL": "amqp://guest:guest@127.0.0.1:5672/",
    "EVENT_STORE": "sqlite:///.data/events of mine #2.db",
    "SECRET_KEY": 'a "key" with $(signs), ~ and `ticks`',
    "TWO_WORDS": "two words",
    "HOME_OF": "~/somewhere",
    "COMMENT": "#1",
    "NOTHING": "",
}


def as_a_shell_reads_it(path: Path, name: str) -> str:
    script = f'set -eu; . "$1"; printf %s "${{{name}-unset}}"'
    done = subprocess.run(["sh", "-c", script, "sh", str(path)], capture_output=True, text=True, check=True)
    return done.stdout


def test_a_shell_and_the_settings_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / ".data" / "services.env"
    write_services(VALUES, path)
    assert read_services(path) == VALUES
    assert {name: as_a_shell_reads_it(path, name) for name in VALUES} == VALUES


@pytest.mark.parametrize("value", ["it's", "back\\slash", "two\nlines", "${HOME}"])
def test_a_value_that_they_would_read_differently_is_left_out(tmp_path: Path, value: str) -> None:
    path = tmp_path / "services.env"
    write_services({"SECRET_KEY": value, "MONGODB": "mongodb://h"}, path)
    assert read_services(path) == {"MONGODB": "mongodb://h"}


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
def test_what_is_read_is_what_was_written_or_nothing(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    path = tmp_path_factory.mktemp("services") / "services.env"
    write_services({"SECRET_KEY": value}, path)
    assert read_services(path).get("SECRET_KEY", value) == value


def test_only_its_owner_may_read_it_also_when_it_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "services.env"
    for values in (VALUES, {"SECRET_KEY": secret_key_of({})}):
        write_services(values, path)
        assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["services.env"]


def test_no_file_says_nothing(tmp_path: Path) -> None:
    assert read_services(tmp_path / "services.env") == {}


def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "services.env"
    path.write_bytes(b"SECRET_KEY=\xff\xfe\n")
    with pytest.raises(CommandFailed, match=r"services\.env cannot be read"):
        read_services(path)


@pytest.mark.parametrize("services", [{}, {"SECRET_KEY": ""}, {"SECRET_KEY": DEFAULT_SECRET_KEY}])
def test_a_new_key_is_long_enough_for_production_and_never_the_same(services: dict[str, str]) -> None:
    assert len(secret_key_of(services).encode()) >= 32
    assert secret_key_of(services) != secret_key_of(services)


def test_a_key_once_made_is_kept() -> None:
    key = secret_key_of({})
    assert secret_key_of({"SECRET_KEY": key}) == key
