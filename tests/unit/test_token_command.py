"""`app-manager token`: what it prints is accepted, and never made in production."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from freezegun import freeze_time
from pydantic import SecretStr
from typer.testing import CliRunner

from api.cli.ending import CommandFailed
from api.cli.main import app
from api.cli.tokens import make_token
from infra.settings import Settings
from infra.tokens import TokenVerifier
from tests.command_line import Shell

KEY = "a development key that is long enough"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = Settings(secret_key=SecretStr(KEY))


def test_the_service_accepts_it_for_that_user_and_that_long() -> None:
    with freeze_time(NOW):
        token = make_token(SETTINGS, "ann", minutes=5)
    claims = TokenVerifier(KEY, "HS256").verify(token, NOW)
    assert claims.user_id == "ann"
    assert claims.expires_at == NOW + timedelta(minutes=5)
    assert not claims.claims.keys() & {"is_admin", "admin_role"}


def test_an_admins_token_has_the_admin_claims() -> None:
    settings = Settings(secret_key=SecretStr(KEY), admin_role_claim="role", algorithm="HS512")
    claims = TokenVerifier(KEY, "HS512").verify(make_token(settings, "ann", minutes=5, admin=True), datetime.now(UTC))
    assert claims.claims["is_admin"] is True
    assert claims.claims["role"] == "admin"


def test_none_is_made_in_production() -> None:
    with pytest.raises(CommandFailed, match="production"):
        make_token(Settings(environment="Production", secret_key=SecretStr(KEY)), "ann", minutes=5)


def test_none_is_made_where_an_issuer_makes_them() -> None:
    issuer = "https://issuer.example"
    settings = Settings(secret_key=SecretStr(KEY), oidc_issuer=issuer, oidc_audience="app")
    with pytest.raises(CommandFailed, match=rf"OIDC_ISSUER \({issuer}\)"):
        make_token(settings, "ann", minutes=5)


@pytest.mark.parametrize(("user", "minutes"), [("", 5), ("a\nb", 5), ("\udcff", 5), ("ann", 10**12), ("ann", 10**10)])
def test_what_no_token_can_say_is_refused_in_one_line(user: str, minutes: int) -> None:
    with pytest.raises(CommandFailed):
        make_token(SETTINGS, user, minutes=minutes)


def test_the_command_prints_the_token_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET_KEY", KEY)
    monkeypatch.setenv("ACCESS_TOKEN_EXPIRE_MINUTES", "7")
    with freeze_time(NOW):
        done = CliRunner().invoke(app, ["token", "ann"])
    assert done.exit_code == 0
    claims = TokenVerifier(KEY, "HS256").verify(done.stdout.removesuffix("\n"), NOW)
    assert (claims.user_id, claims.expires_at) == ("ann", NOW + timedelta(minutes=7))


@pytest.mark.parametrize("command", [["token", "ann", "--json"], ["-o", "json", "token", "ann"]], ids=" ".join)
def test_as_json_it_is_one_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    body = Shell(tmp_path).run(*command, SECRET_KEY=KEY).ended_well().json
    assert list(body) == ["token"]
    assert TokenVerifier(KEY, "HS256").verify(body["token"], datetime.now(UTC)).user_id == "ann"
