"""The published table of settings and the model, compared both ways (contract config.md)."""

import re
from ipaddress import IPv4Network
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from infra.setting_types import Rate
from infra.settings import Settings, load_settings
from tests.published import codes, table

SECTIONS = (
    "Service",
    "Event store",
    "MongoDB",
    "RabbitMQ and processing",
    "Portals and documents",
    "Authentication",
    "Limits",
    "Tracing",
)
ROWS = [row for section in SECTIONS for row in table("config.md", section)]
PUBLISHED = [(name, row) for row in ROWS for name in codes(row["Variable"])]
TOLD_IN_PASSING = {"OIDC_USER_CLAIM": "`sub`"}
DEFAULT_OF_ITS_OWN = {  # told in words
    "PORTAL_DEFAULT": "sandbox",
    "SANDBOX_PORTAL_URL": "http://127.0.0.1:8019",
    "AUDIT_SIGNING_KEY": Path(".data/audit-signing-key.pem"),
    "AUDIT_CHECKPOINT_DIR": Path(".data/audit"),
}
KINDS: dict[str, Any] = {
    "string": (str, SecretStr),
    "URL": str,
    "URI": str,
    "int": int,
    "number": float,
    "0.0-1.0": float,
    "bool": bool,
    "list": tuple,
    "JSON": dict,
    "path": Path,
    "N/period": Rate,
}


def fields() -> dict[str, FieldInfo]:
    return {name.upper(): field for name, field in Settings.model_fields.items()}


def types_in(annotation: Any) -> set[Any]:
    """The types that an annotation names, at any depth but inside containers."""
    origin = get_origin(annotation)
    if origin in {Annotated, Union, UnionType}:
        return set().union(*map(types_in, get_args(annotation)))
    return {origin or annotation}


def default_of(name: str) -> Any:
    value = getattr(Settings(), name.lower())
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def told(row: dict[str, str], name: str) -> str:
    """A row may hold several variables, with as many defaults."""
    names, values = codes(row["Variable"]), row["Default"].split(", ")
    return values[names.index(name)] if len(names) == len(values) else row["Default"]


def test_every_published_setting_is_in_the_model_and_none_besides() -> None:
    assert fields().keys() == {name for name, _ in PUBLISHED} | TOLD_IN_PASSING.keys()


def test_the_model_is_in_the_order_of_the_table() -> None:
    assert [name for name in fields() if name not in TOLD_IN_PASSING] == [name for name, _ in PUBLISHED]


@pytest.mark.parametrize(("name", "row"), PUBLISHED, ids=[name for name, _ in PUBLISHED])
def test_the_default_is_the_published_one(name: str, row: dict[str, str]) -> None:
    default, cell = default_of(name), re.sub(r" \*\*\(.*\)\*\*", "", told(row, name))
    if name in DEFAULT_OF_ITS_OWN:
        assert default == DEFAULT_OF_ITS_OWN[name]
    elif cell in {"empty", "none"}:
        assert default in ((), "", None)
    elif isinstance(default, Rate):
        assert default == Rate.parse(cell.strip("`"))
    elif isinstance(default, bool | dict):
        assert str(default).lower() == cell.strip("`").lower()
    else:
        assert default == type(default)(cell.strip("`"))


@pytest.mark.parametrize(("name", "row"), PUBLISHED, ids=[name for name, _ in PUBLISHED])
def test_the_type_is_the_published_one(name: str, row: dict[str, str]) -> None:
    kinds = row["Type"].split(", ")
    names = codes(row["Variable"])
    kind = kinds[names.index(name)] if len(kinds) == len(names) else kinds[0]
    annotation = fields()[name].annotation
    words = kind.strip("`").split()
    if get_origin(annotation) is Literal:
        assert kind == "string" or set(codes(row["Type"])) == set(get_args(annotation)) - {""}
        return
    expected = KINDS[words[0].strip("`,")]
    assert types_in(annotation) & set(expected if isinstance(expected, tuple) else [expected])


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, field in fields().items() if not field.description] == []


def test_in_production_there_is_no_default_portal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("SECRET_KEY", "k" * 32)
    assert load_settings().portal_default is None


def test_each_kind_is_read_from_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {
        "DEBUG": "On",
        "PORT": "9000",
        "READ_WAIT_SECONDS": "0.5",
        "TRUSTED_PROXIES": "10.0.0.0/8, 192.168.1.1",
        "CORS_ALLOWED_ORIGINS": '["https://a.example", "*"]',
        "QUEUE_TYPE": "Quorum",
        "PORTALS": '{"LinkedIn": {"adapter": "http", "url": "https://jobs.example/in"}}',
        "RATE_LIMIT_REQUESTS": "5/second",
        "AUDIT_CHECKPOINT_DIR": "/var/audit",
        "LOG_LEVEL": "warning",
    }.items():
        monkeypatch.setenv(name, text)
    settings = load_settings()
    assert (settings.debug, settings.port, settings.read_wait_seconds) == (True, 9000, 0.5)
    assert settings.trusted_proxies == (IPv4Network("10.0.0.0/8"), IPv4Network("192.168.1.1/32"))
    assert settings.cors_allowed_origins == ("https://a.example", "*")
    assert settings.queue_type == "quorum"
    assert settings.portals["LinkedIn"]["adapter"] == "http"
    assert settings.rate_limit_requests == Rate(5, 1)
    assert settings.audit_checkpoint_dir == Path("/var/audit")
    assert settings.log_level == "WARNING"
