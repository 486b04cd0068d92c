"""The client's settings: who says what, and the file that keeps them (contract cli.md 1, 2 and 4: config)."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.cli.client import settings as client_settings
from api.cli.client.keys import KEYS
from api.cli.client.settings_file import read_settings, write_setting
from infra.settings import SERVICES_FILE
from tests.command_line import Shell

URL = "http://127.0.0.1:8123"
TOKEN = "eyJhbGciOi.J9.s-e_cret"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path)


def services(shell: Shell, text: str) -> None:
    path = shell.home / SERVICES_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def effective(shell: Shell, *options: str, **exported: str) -> Mapping[str, object]:
    shown: Mapping[str, object] = shell.run(*options, "config", "show", "--json", **exported).ended_well().json
    return shown


# -- precedence -------------------------------------------------------------------------------------------------------


def test_an_option_goes_before_the_environment_that_before_the_file_that_before_the_default(shell: Shell) -> None:
    assert effective(shell)["api_url"] == "http://localhost:8009"
    services(shell, f"APP_MANAGER_API_URL={URL}/0\n")
    assert effective(shell)["api_url"] == f"{URL}/0"
    shell.keeping(f"APP_MANAGER_API_URL={URL}/1\n")
    assert effective(shell)["api_url"] == f"{URL}/1"
    exported = {"APP_MANAGER_API_URL": f"{URL}/2"}
    assert effective(shell, **exported)["api_url"] == f"{URL}/2"
    assert effective(shell, "-u", f"{URL}/3", **exported)["api_url"] == f"{URL}/3"


def test_each_setting_comes_from_each_place(shell: Shell) -> None:
    texts = {"api_url": URL, "api_token": TOKEN, "api_timeout": "2.5", "output_format": "json", "no_color": "yes"}
    values = {"api_url": URL, "api_token": "[set]", "api_timeout": 2.5, "output_format": "json", "no_color": True}
    variables = {key.variable: texts[key.name] for key in KEYS}
    shown = effective(shell, **variables)
    assert {name: shown[name] for name in values} == values
    assert set(shown["from"].values()) == {"option", "environment"}  # type: ignore[attr-defined]  # --json
    shell.keeping("".join(f"{name}={text}\n" for name, text in variables.items()))
    shown = effective(shell)
    assert {name: shown[name] for name in values} == values


def test_an_empty_text_says_nothing_but_as_an_option(shell: Shell) -> None:
    shell.keeping(f"APP_MANAGER_API_TOKEN={TOKEN}\n")
    assert effective(shell, APP_MANAGER_API_TOKEN=" ")["api_token"] == "[set]"
    assert effective(shell, "--token", "")["api_token"] == "[not set]"


def test_the_common_variable_for_no_colours_counts_where_ours_says_nothing(shell: Shell) -> None:
    assert effective(shell, NO_COLOR="1")["no_color"] is True
    assert effective(shell, NO_COLOR="")["no_color"] is False
    assert effective(shell, NO_COLOR="1", APP_MANAGER_NO_COLOR="off")["no_color"] is False


@pytest.mark.parametrize(
    "url", ["https://elsewhere.example", "http://192.0.2.7:8009", "ftp://127.0.0.1", "nonsense", ""]
)
def test_a_folder_sends_nobodys_token_to_another_machine(shell: Shell, url: str) -> None:
    services(shell, f"APP_MANAGER_API_URL={url}\nAPP_MANAGER_API_TOKEN=other\nAPP_MANAGER_OUTPUT_FORMAT=xml\n")
    shown = effective(shell)
    assert (shown["api_url"], shown["api_token"]) == ("http://localhost:8009", "[not set]")


def test_the_folder_of_the_service_is_the_one_that_up_writes() -> None:
    assert client_settings.SERVICES_FILE == SERVICES_FILE


def test_each_side_reads_its_own_settings_only(shell: Shell) -> None:
    broken = {key.variable: "?! broken" for key in KEYS}
    assert shell.run("token", "ann", SECRET_KEY="s" * 40, **broken).ended_well().stdout.count(".") == 2
    shell.run("config", "get", "url", PORT="broken", EVENT_STORE="broken").ended_well()
    (shell.home / ".env").write_text(f"APP_MANAGER_API_URL={URL}\n")
    assert effective(shell)["api_url"] == "http://localhost:8009"


# -- what cannot be used ----------------------------------------------------------------------------------------------

BAD = [
    ("api_url", "localhost:8009"),
    ("api_url", "ftp://x.example"),
    ("api_url", "http://"),
    ("api_url", "http://x.example:99999"),
    ("api_url", "http://x .example"),
    ("api_url", "http://[x"),
    ("api_url", "http://ann:secret@x.example"),
    ("api_url", "http://x.example/?y=1"),
    ("api_token", "two words"),
    ("api_token", "tökén"),
    ("api_token", "a\nX-Other: header"),
    ("api_timeout", "0"),
    ("api_timeout", "-1"),
    ("api_timeout", "soon"),
    ("api_timeout", "nan"),
    ("api_timeout", "inf"),
    ("output_format", "xml"),
    ("no_color", "maybe"),
]
NAMED = {key.name: key for key in KEYS}


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_bad_value_is_one_line_that_says_where_it_is(shell: Shell, name: str, text: str) -> None:
    variable = NAMED[name].variable
    for done, place in (
        (shell.run("config", "get", name, **{variable: text}), "environment"),
        (shell.keeping(f"{variable}={text!r}\n").run("config", "get", name), str(shell.file)),
    ):
        assert done.code == 1
        assert done.stderr.startswith(f"Error: {variable} should be ")
        assert done.stderr.endswith(f"(from {place})\n")
        assert "secret" not in done.stderr
        assert name != "api_token" or text not in done.stderr


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_bad_value_is_not_kept(shell: Shell, name: str, text: str) -> None:
    done = shell.run("config", "set", "--", name, text)
    assert done.code == 1
    assert done.stderr.startswith(f"Error: {name} should be ")
    assert "valid keys: api_url (url), api_token (token), api_timeout (timeout)" in done.stderr
    assert not shell.file.exists()


@pytest.mark.parametrize(
    "option", [("-u", "localhost"), ("-u", ""), ("-t", "two words"), ("-o", "xml"), ("--limit", "1")]
)
def test_a_bad_option_is_bad_usage(shell: Shell, option: tuple[str, str]) -> None:
    done = shell.run(*option, "config", "show")
    assert (done.code, done.stdout) == (2, "")
    assert "Error: " in done.stderr


def test_a_file_that_cannot_be_read_is_one_line(shell: Shell) -> None:
    shell.keeping("")
    shell.file.write_bytes(b"APP_MANAGER_API_URL=\xff\n")
    assert shell.run("config", "show").failed(f"{shell.file} cannot be read: it is not UTF-8 text") == []
    shell.file.unlink()
    shell.file.mkdir()
    assert shell.run("config", "set", "timeout", "3").failed(f"{shell.file} cannot be read: Is a directory") == []


def test_a_home_that_cannot_be_written_is_one_line(shell: Shell) -> None:
    (shell.home / ".config").write_text("not a folder")
    assert shell.run("config", "set", "timeout", "3").failed(f"{shell.file} cannot be read: Not a directory") == []


# -- config set and the file ------------------------------------------------------------------------------------------


def test_set_makes_a_file_that_only_its_owner_may_read(shell: Shell) -> None:
    done = shell.run("config", "set", "api_url", f"{URL}//").ended_well()
    assert done.stdout == f"api_url = {URL}\n"
    assert shell.file.read_text() == f"APP_MANAGER_API_URL={URL}\n"
    shell.file.chmod(0o644)
    shell.run("config", "set", "no_color", "On").ended_well()
    assert shell.file.read_text() == f"APP_MANAGER_API_URL={URL}\nAPP_MANAGER_NO_COLOR=true\n"
    assert shell.file.stat().st_mode & 0o777 == 0o600
    assert shell.file.parent.stat().st_mode & 0o077 == 0
    assert [path.name for path in shell.file.parent.iterdir()] == [shell.file.name]


@pytest.mark.parametrize("name", ["token", "TOKEN", "api_token", "Api_Token"])
def test_every_name_of_a_key_is_understood_and_a_token_never_shown(shell: Shell, name: str) -> None:
    outputs = [
        shell.run("config", "set", name, TOKEN).ended_well(),
        shell.run("config", "get", name).ended_well(),
        shell.run("config", "show").ended_well(),
        shell.run("config", "show", "--json").ended_well(),
    ]
    assert [done.stdout for done in outputs[:2]] == ["api_token = [hidden]\n", "[set]\n"]
    assert ["API Token", "[set]", str(shell.file)] in outputs[2].rows
    assert not any(TOKEN in done.stdout + done.stderr for done in outputs)
    assert read_settings(shell.file) == {"APP_MANAGER_API_TOKEN": TOKEN}


def test_the_rest_of_the_file_stays_as_it_is(shell: Shell) -> None:
    shell.keeping(
        "# mine\nOTHER='two\nAPP_MANAGER_API_URL=no' # words\r\n\n\nexport APP_MANAGER_API_URL=\"http://old\"\n"
        "APP_MANAGER_API_TIMEOUT=1 # comment\nAPP_MANAGER_API_URL=http://older\nno equals sign\nlast=1"
    )
    shell.run("config", "set", "url", URL).ended_well()
    assert shell.file.read_bytes().decode() == (
        f"# mine\nOTHER='two\nAPP_MANAGER_API_URL=no' # words\r\n\n\nexport APP_MANAGER_API_URL={URL}\n"
        "APP_MANAGER_API_TIMEOUT=1 # comment\nno equals sign\nlast=1"
    )
    shell.run("config", "set", "output", "json").ended_well()
    assert shell.file.read_text().endswith("\nlast=1\nAPP_MANAGER_OUTPUT_FORMAT=json\n")
    assert effective(shell)["api_timeout"] == 1


def test_a_file_that_is_a_link_stays_one(shell: Shell) -> None:
    kept = shell.home / "dotfiles.env"
    kept.write_text("OTHER=1\n")
    shell.file.parent.mkdir(parents=True)
    shell.file.symlink_to(kept)
    shell.run("config", "set", "timeout", "3").ended_well()
    assert shell.file.is_symlink()
    assert kept.read_text() == "OTHER=1\nAPP_MANAGER_API_TIMEOUT=3\n"


def test_a_file_from_elsewhere_may_have_quotes_comments_and_a_mark_at_its_start(shell: Shell) -> None:
    shell.keeping(f'\ufeffAPP_MANAGER_API_URL = "{URL}/" # where\n# APP_MANAGER_API_TIMEOUT=3\n')
    shown = effective(shell)
    assert (shown["api_url"], shown["api_timeout"]) == (URL, 30)


LINES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), max_size=20).map(str.strip)


@given(LINES, VALUES, VALUES)
@settings(max_examples=50)
@example("'", "'=A", "0")
def test_what_is_written_is_read_whatever_is_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, before: str, first: str, second: str
) -> None:
    path = tmp_path_factory.mktemp("config") / "config.env"
    path.write_bytes(before.encode())
    others = read_settings(path)
    for value in (first, second):
        write_setting(path, "MINE", value)
        assert read_settings(path) == {**others, "MINE": value}
    assert path.read_bytes().count(b"MINE") == 1 + before.count("MINE")
    write_setting(path, "MINE", second)
    assert dict(dotenv_values(path, interpolate=False)).get("MINE") == second


# -- config get, show and reset ---------------------------------------------------------------------------------------


def test_get_prints_the_value_alone_on_one_line(shell: Shell) -> None:
    told = {
        "url": "http://localhost:8009",
        "Timeout": "30",
        "OUTPUT": "table",
        "no_color": "false",
        "token": "[not set]",
    }
    assert {name: shell.run("config", "get", name).ended_well().stdout for name in told} == {
        name: f"{value}\n" for name, value in told.items()
    }


@pytest.mark.parametrize("command", [("config", "get", "{}", "--json"), ("-o", "json", "config", "get", "{}")])
def test_get_prints_one_document_as_json_with_the_key_as_show_names_it(shell: Shell, command: tuple[str, ...]) -> None:
    shell.keeping(f"APP_MANAGER_API_TOKEN={TOKEN}\n")
    shown = effective(shell, NO_COLOR="1")
    for key in KEYS:
        for name in filter(None, (key.name, key.short)):
            done = shell.run(*(word.format(name) for word in command), NO_COLOR="1").ended_well()
            assert done.json == {key.name: shown[key.name]}


def test_the_format_of_get_may_come_from_the_file_and_counts_for_nothing_if_it_cannot_be_used(shell: Shell) -> None:
    shell.keeping("APP_MANAGER_OUTPUT_FORMAT=json\nAPP_MANAGER_NO_COLOR=maybe\n")
    assert shell.run("config", "get", "timeout").ended_well().json == {"api_timeout": 30}
    shell.keeping("APP_MANAGER_OUTPUT_FORMAT=xml\n")
    assert shell.run("config", "get", "timeout").ended_well().stdout == "30\n"
    assert shell.run("config", "get", "timeout", "--json").ended_well().json == {"api_timeout": 30}


@pytest.mark.parametrize("command", [("get", "colour"), ("set", "colour", "blue")])
def test_an_unknown_key_is_told_with_the_valid_ones(shell: Shell, command: tuple[str, ...]) -> None:
    valid = "api_url (url), api_token (token), api_timeout (timeout), output_format (output), no_color"
    assert shell.run("config", *command).failed("unknown key: colour") == [f"valid keys: {valid}"]


def test_show_tells_the_file_each_value_and_where_it_comes_from(shell: Shell) -> None:
    done = shell.run("config", "show", APP_MANAGER_API_TIMEOUT="5").ended_well()
    assert done.stdout.startswith(f"Config file: {shell.file} (does not exist)\n")
    assert done.rows == [
        ["API URL", "http://localhost:8009", "default"],
        ["API Token", "[not set]", "default"],
        ["Timeout", "5", "environment"],
        ["Output", "table", "default"],
        ["No Color", "false", "default"],
    ]
    shell.run("config", "set", "timeout", "4").ended_well()
    assert f"{shell.file} (exists)" in shell.run("config", "show").ended_well().stdout


def test_a_broken_setting_can_be_set_again(shell: Shell) -> None:
    shell.keeping("APP_MANAGER_OUTPUT_FORMAT=xml\n")
    assert shell.run("config", "show").code == 1
    shell.run("config", "set", "output", "table").ended_well()
    shell.run("config", "show").ended_well()


def test_reset_deletes_the_file_once(shell: Shell) -> None:
    shell.keeping("APP_MANAGER_API_TIMEOUT=3\n")
    assert shell.run("config", "reset", "--force").ended_well().stdout == f"Deleted: {shell.file}\n"
    assert not shell.file.exists()
    assert shell.run("config", "reset").ended_well().stdout == f"There is no {shell.file}: nothing to reset.\n"


def test_reset_asks_nobody_where_nobody_is_and_deletes_nothing(shell: Shell) -> None:
    shell.keeping("APP_MANAGER_API_TIMEOUT=3\n")
    message = "nobody can be asked without a terminal, and nothing was done: add --force to delete"
    assert shell.run("config", "reset").failed(message) == []
    assert shell.file.exists()


def test_what_config_does_is_one_document_as_json(shell: Shell) -> None:
    assert shell.run("-o", "json", "config", "set", "token", TOKEN).ended_well().json == {"api_token": "[hidden]"}
    deleted = {"config_file": str(shell.file), "deleted": True}
    assert shell.run("-o", "JSON", "config", "reset", "-f").ended_well().json == deleted


def test_a_home_that_nobody_knows_is_one_line(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)  # a user without an entry in the machine's list
    assert shell.run("config", "show").failed("your home folder is not known: set HOME") == []
