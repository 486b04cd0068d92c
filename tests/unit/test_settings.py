"""How settings are read, and what is refused (contract config.md; cli.md 5)."""

import json
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from consumers.portals.entry import PortalEntry
from infra.settings import SERVICES_FILE, Settings, SettingsError, load_settings

SECRET = "s3cret-that-nobody-may-see-0123456789"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def say(file: Path, *lines: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(lines), encoding="utf-8")


def refusal(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_the_environment_goes_before_the_file_and_the_file_before_what_up_wrote(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    say(Path(".env"), "PORT=2", "HOST=0.0.0.0")
    say(SERVICES_FILE, "PORT=3", "HOST=::1", "MONGODB=mongodb://127.0.0.1:4444/?replicaSet=rs0")
    monkeypatch.setenv("PORT", "1")
    settings = load_settings()
    assert (settings.port, settings.host) == (1, "0.0.0.0")
    assert settings.mongodb == "mongodb://127.0.0.1:4444/?replicaSet=rs0"


def test_what_up_wrote_can_be_left_out() -> None:
    say(SERVICES_FILE, "MONGODB=mongodb://127.0.0.1:4444")
    settings = load_settings(with_services=False)
    assert settings.mongodb == "mongodb://localhost:27017"
    assert "mongodb" not in settings.model_fields_set


def test_what_was_set_is_told_from_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ_URL", "amqp://guest:guest@localhost:5672/")
    assert load_settings().model_fields_set == {"rabbitmq_url"}


def test_names_are_as_written_in_the_environment_and_of_any_case_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    say(Path(".env"), "Max_Retries=7", "rabbitmq_url=amqps://broker.example/")
    monkeypatch.setenv("port", "1")
    settings = load_settings()
    assert (settings.max_retries, settings.rabbitmq_url, settings.port) == (7, "amqps://broker.example/", 8009)


def test_other_lines_of_the_file_are_nobodys_business() -> None:
    say(Path(".env"), "# a comment", "SOMEBODY_ELSES=1", "export PORT='8010'")
    assert load_settings().port == 8010


def test_an_empty_variable_means_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "QUEUE_TYPE", "TRUSTED_PROXIES", "OIDC_ISSUER", "SANDBOX_PORTAL_URL", "PORTALS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("SANDBOX_PORTAL_PORT", "8100")
    settings = load_settings()
    assert settings.model_dump() == Settings(sandbox_portal_port=8100).model_dump()
    assert settings.sandbox_portal_url == "http://127.0.0.1:8100"


def test_an_empty_default_portal_means_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTAL_DEFAULT", "")
    assert load_settings().portal_default is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "0"),
        ("PORT", "70000"),
        ("PORT", "eight"),
        ("DEBUG", "maybe"),
        ("LOG_LEVEL", "LOUD"),
        ("SHUTDOWN_GRACE_SECONDS", "-1"),
        ("HEALTH_CHECK_TIMEOUT_SECONDS", "0"),
        ("READ_WAIT_SECONDS", "nan"),
        ("CLAIM_SECONDS", "inf"),
        ("RETRY_MAX_DELAY", "inf"),
        ("TRUSTED_PROXIES", "10.0.0.0/40"),
        ("CORS_ALLOWED_ORIGINS", "https://a.example/path"),
        ("CORS_ALLOWED_ORIGINS", "https://a.example:abc"),
        ("CORS_ALLOWED_ORIGINS", "https://[a.example"),
        ("EVENT_STORE", "mysql://h/db"),
        ("EVENT_STORE", "sqlite:///"),
        ("EVENT_STORE", "sqlite:events.db"),
        ("EVENT_STORE", "sqlite://events.db"),
        ("EVENT_STORE", "sqlite://data/events.db"),
        ("EVENT_STORE", "postgresql://u:p@h:5432"),
        ("EVENT_STORE", "postgresql://u:p%zz@h/db"),
        ("EVENT_STORE", "postgresql://u:p@ss@h/db"),
        ("EVENT_STORE", "postgresql://u:p/ss@h/db"),
        ("EVENT_STORE", "postgresql://u:p@h:abc/db"),
        ("EVENT_STORE", "postgresql://u:p@h:0/db"),
        ("EVENT_STORE", "postgresql://u:p@h:65536/db"),
        ("EVENT_STORE", "postgresql://u:p@h1:5432,h2:abc/db"),
        ("EVENT_STORE", "postgresql://u:p@h/db?bogus=1"),
        ("EVENT_STORE", "POSTGRESQL://u:p@h/db"),
        ("MONGODB", "localhost:27017"),
        ("MONGODB", "MONGODB://localhost"),
        ("MONGODB", "mongodb://app:p@ss@host/"),
        ("MONGODB", "mongodb://app:p/ss@host/"),
        ("MONGODB", "mongodb://app:1?ss@host/?w=1"),
        ("MONGODB", "mongodb://app:p%zz@host/"),
        ("MONGODB", "mongodb://localhost:abc"),
        ("MONGODB", "mongodb://localhost:0"),
        ("MONGODB", "mongodb://h1:27017,h2:65536/?replicaSet=rs0"),
        ("MONGODB", "mongodb://h1,,h2/"),
        ("MONGODB", "mongodb://h/a b"),
        ("MONGODB", "mongodb://h/?replicaSet"),
        ("MONGODB", "mongodb://h/?bogus=1"),
        ("MONGODB", "mongodb://h/?maxPoolSize=many"),
        ("MONGODB", "mongodb://h/?tlsCAFile=/nowhere/ca.pem"),
        ("MONGODB", "mongodb://h1,h2/?directConnection=true"),
        ("MONGODB", "mongodb+srv://cluster.example.org:27017/"),
        ("MONGODB", "mongodb+srv://a.example.org,b.example.org/"),
        ("MONGODB", "mongodb+srv://app:p@ss@cluster.example.org/"),
        ("MONGODB", "mongodb+srv://cluster.example.org/?bogus=1"),
        ("MONGODB", "mongodb+srv://cluster.example.org/?tls=true&ssl=false"),
        ("RABBITMQ_URL", "http://localhost"),
        ("RABBITMQ_URL", "amqp://guest:guest@localhost:abc/"),
        ("RABBITMQ_URL", "amqp://guest:guest@localhost:65536/"),
        ("RABBITMQ_URL", "amqp://guest:gu/est@localhost/"),
        ("RABBITMQ_URL", "amqp://[::1]5672/"),
        ("OTLP_ENDPOINT", "localhost:4317"),
        ("OTLP_ENDPOINT", "http://localhost:abc"),
        ("SANDBOX_PORTAL_URL", "ftp://x"),
        ("SANDBOX_PORTAL_URL", "http://localhost:65536"),
        ("QUEUE_TYPE", "stream"),
        ("APPLICATION_DLQ", "amq.gen"),
        ("MAX_RETRIES", "-1"),
        ("PORTALS", "{"),
        ("PORTALS", "[]"),
        ("PORTALS", '{"x": 1}'),
        ("PORTALS", '{"x": {"url": "http://x"}, "X": {"url": "http://x"}}'),
        ("PORTALS", '{"x": {"url": "http://x", "delivery": "bogus"}}'),
        ("PORTAL_DEFAULT", "monster"),
        ("ALGORITHM", "none"),
        ("ALGORITHM", "RS256"),
        ("OIDC_ISSUER", "issuer.example"),
        ("OIDC_ISSUER", "https://"),
        ("OIDC_ISSUER", "https://issuer.example:abc"),
        ("OIDC_ISSUER", "https://user@issuer.example"),
        ("OIDC_ISSUER", "https://issuer.example?"),
        ("OIDC_ISSUER", "https://issuer.example/#"),
        ("RATE_LIMIT_REQUESTS", "0/hour"),
        ("RATE_LIMIT_REQUESTS", "10"),
        ("RATE_LIMIT_APPLICATIONS", "10/week"),
        ("MAX_CV_BYTES", str(15 * 1024 * 1024 + 1)),
        ("TRACING_EXPORTER", "zipkin"),
        ("TRACING_SAMPLE_RATE", "1.1"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    assert refusal(monkeypatch, **{name: text}).startswith(f"{name} ")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CORS_ALLOWED_ORIGINS", "https://a.example:8443,http://[::1]:3000"),
        ("EVENT_STORE", "sqlite:////var/lib/events.db"),
        ("EVENT_STORE", "sqlite:///.data/events of mine #2.db"),
        ("EVENT_STORE", "postgresql://u:p%40ss%2Fword%25@h/db"),
        ("EVENT_STORE", "postgresql://u:p@[::1]:5432/db"),
        ("EVENT_STORE", "postgresql://u:p@h/db?sslmode=require&target_session_attrs=read-write"),
        ("EVENT_STORE", "postgresql://u:p@h1:5432,h2,[::1]:5433/db"),
        ("EVENT_STORE", "postgresql://u:p@%2Fvar%2Frun%2Fpostgresql/db"),
        ("EVENT_STORE", "postgresql://u@/db?host=/var/run/postgresql"),
        ("MONGODB", "mongodb://app:p%40ss%2Fword%3F@h:27017/resumes?authSource=admin"),
        ("MONGODB", "mongodb://h1:27017,h2:27017,h3/?replicaSet=rs0&w=majority&readPreference=secondaryPreferred"),
        ("MONGODB", "mongodb://[::1]:27017,[::2]/?replicaSet=rs0"),
        ("MONGODB", "mongodb://h?tls=true"),
        ("MONGODB", "mongodb://h/?retryWrites=true;appName=x"),
        ("MONGODB", "mongodb://h/?readPreference=nearest&readPreferenceTags=dc:a&readPreferenceTags="),
        ("MONGODB", "mongodb://h/?authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:a@b"),
        ("MONGODB", "mongodb://%2Ftmp%2Fmongodb-27017.sock/"),
        ("MONGODB", "mongodb+srv://app:p%40ss@name.invalid/resumes?retryWrites=true&w=majority"),
        ("MONGODB", "mongodb+srv://name.invalid/?srvServiceName=x&srvMaxHosts=2"),
        ("RABBITMQ_URL", "amqps://u:p%40ss%2Fword@[::1]:5671/a%2Fb"),
        ("RABBITMQ_URL", "amqp://broker.example"),
        ("OTLP_ENDPOINT", "https://u:p@[::1]:4317"),
        (
            "PORTALS",
            '{"x": {"adapter": "fax", "office": "a", "timeout": null, "rate": 0.5, "delivery": "at_least_once"}}',
        ),
        ("PORTAL_DEFAULT", "Sandbox"),
    ],
)
def test_a_good_value_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(name, text)
    taken = getattr(load_settings(), name.lower())
    if isinstance(taken, str):
        assert taken == text


def test_a_wrong_option_of_mongodb_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    line = refusal(monkeypatch, MONGODB="mongodb://h/?replicaSet=rs0&retryWrite=true")
    assert line == "MONGODB has an option that MongoDB's client does not take: retryWrite"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("adapter", 5),
        ("timeout", 0),
        ("timeout", "soon"),
        ("concurrency", 0),
        ("concurrency", 10_001),
        ("rate", -1),
        ("delivery", "twice"),
    ],
)
def test_every_role_refuses_an_entry_that_the_worker_would(
    monkeypatch: pytest.MonkeyPatch, field: str, value: object
) -> None:
    with pytest.raises(ValidationError):
        PortalEntry.model_validate({"timeout": 30, field: value})
    line = refusal(monkeypatch, PORTALS=json.dumps({"Monster": {field: value}}))
    assert line.startswith(f"PORTALS has a wrong entry Monster: {field} should be ")


@pytest.mark.parametrize("text", ["true", "1", "YES", "on", "True"])
def test_yes_is_said_in_many_ways(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TRACING_ENABLED", text)
    assert load_settings().tracing_enabled is True


@pytest.mark.parametrize("text", ["false", "0", "No", "OFF", " off "])
def test_no_is_said_in_many_ways(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("JSON_LOGS", text)
    assert load_settings().json_logs is False


def test_several_bad_values_are_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    line = refusal(monkeypatch, PORT="x", SANDBOX_PORTAL_PORT="y", ENVIRONMENT="production")
    assert [part.split()[0] for part in line.split("; ")] == ["PORT", "SANDBOX_PORTAL_PORT"]


@pytest.mark.parametrize("key", ["", "your-secret-key-here", "k" * 31])
def test_production_needs_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    assert refusal(monkeypatch, ENVIRONMENT="Production", SECRET_KEY=key).startswith("SECRET_KEY ")


def test_the_length_of_the_key_is_counted_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("SECRET_KEY", "ключ" * 4)
    assert load_settings().is_production


def test_the_queues_are_three(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "APPLICATION_DLQ" in refusal(monkeypatch, APPLICATION_DLQ="application_processing_queue")


def test_fewer_connections_are_not_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "MONGO_MIN_POOL_SIZE" in refusal(monkeypatch, MONGO_MAX_POOL_SIZE="5")


def test_an_issuer_needs_an_audience(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, OIDC_ISSUER="https://issuer.example") == "OIDC_ISSUER needs OIDC_AUDIENCE"


@pytest.mark.parametrize("issuer", ["http://issuer.example", "http://localhost.example", "http://127.0.0.1.example/a"])
def test_production_asks_no_issuer_in_the_clear(monkeypatch: pytest.MonkeyPatch, issuer: str) -> None:
    monkeypatch.setenv("OIDC_AUDIENCE", "x")
    monkeypatch.setenv("OIDC_ISSUER", issuer)
    assert load_settings().oidc_issuer == issuer
    assert refusal(monkeypatch, ENVIRONMENT="production").startswith("OIDC_ISSUER must begin with https://")


@pytest.mark.parametrize(
    "issuer", ["https://issuer.example/a/", "http://localhost:8080/a", "http://127.0.0.1:1", "http://[::1]:1"]
)
def test_with_an_issuer_production_needs_no_key_of_its_own(monkeypatch: pytest.MonkeyPatch, issuer: str) -> None:
    for name, text in {"ENVIRONMENT": "production", "OIDC_AUDIENCE": "x", "OIDC_ISSUER": issuer}.items():
        monkeypatch.setenv(name, text)
    assert load_settings().oidc_issuer == issuer


def test_a_file_that_is_no_text_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_bytes(b"PORT=\xff\xfe")
    assert ".env" in refusal(monkeypatch)


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        secret_key=SecretStr(SECRET),
        mongodb=f"mongodb://u:{SECRET}@h1:1,h2:2/?replicaSet=rs0",
        rabbitmq_url=f"amqp://u:{SECRET}@h/",
        event_store=f"postgresql://u:{SECRET}@h/db",
        portals={"x": {"adapter": "http", "key": SECRET}},
    )
    assert SECRET not in repr(settings) + str(settings)
    assert settings.secrets == (SECRET,)


def test_a_password_is_secret_as_it_is_written_and_as_it_is_meant() -> None:
    settings = Settings(rabbitmq_url="amqp://u:p%40ss-word@h/", event_store="postgresql://guest:guest@h/db")
    assert set(settings.secrets) == {"your-secret-key-here", "p%40ss-word", "p@ss-word"}


@pytest.mark.parametrize("name", ["EVENT_STORE", "MONGODB", "RABBITMQ_URL", "PORTALS", "OIDC_ISSUER", "PORT"])
def test_no_refusal_repeats_what_may_be_secret(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert SECRET not in refusal(monkeypatch, **{name: f"x://u:{SECRET}@host/"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("EVENT_STORE", "postgresql://u:%zz{}@h/db"),
        ("EVENT_STORE", "postgresql://u:{}@@h/db"),
        ("EVENT_STORE", "postgresql://u:p/{}@h:abc/db"),
        ("MONGODB", "mongodb://u:{}@@h/"),
        ("MONGODB", "mongodb://u:1/{}@h/"),
        ("MONGODB", "mongodb://u:1?{}@h/"),
        ("MONGODB", "mongodb://u:1?{}=@h/?w=1"),
        ("MONGODB", "mongodb://u:%2F{}@h/a/b"),
        ("MONGODB", "mongodb://u:{}@h%20/"),
        ("MONGODB", "mongodb://h/?tlsCertificateKeyFile=/nowhere/{}"),
        ("MONGODB", "mongodb+srv://u:{}@h1,h2/"),
        ("RABBITMQ_URL", "amqp://u:{}@h:abc/"),
        ("RABBITMQ_URL", "amqp://u:p#{}@h/"),
        ("OTLP_ENDPOINT", "http://u:{}@h:abc/"),
        ("PORTALS", '{{"x": {{"delivery": "{}"}}}}'),
    ],
)
def test_no_secret_is_told_by_what_the_libraries_say(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    assert "s3cret" not in refusal(monkeypatch, **{name: text.format(SECRET)})


def test_no_byte_of_a_password_that_is_no_text_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "e9" not in refusal(monkeypatch, EVENT_STORE="postgresql://u:p%e9@h/db")


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]
