"""docker-compose.yml, as read by Debian's docker-compose and by the newest: what reaches the containers, and how."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from api.cli.main import app
from infra.health_probe import PLACES
from infra.settings import Settings
from tests.deploy.bounds import closing_seconds, memory_needed
from tests.deploy.dockerfile import instructions
from tests.deploy.tools import BIN, ROOT, accepted, debian_compose, run

pytestmark = pytest.mark.timeout(600)  # the first use unpacks Debian's packages

SECRETS = {"SECRET_KEY": "k" * 40, "POSTGRES_PASSWORD": "p0stgres", "RABBITMQ_PASSWORD": "r4bbit"}
ROLES = {"api": "serve", "projector": "project", "relay": "relay", "worker": "work"}
STORES = {"postgresql", "mongodb", "rabbitmq"}
OWN_PATHS = {"AUDIT_SIGNING_KEY", "AUDIT_CHECKPOINT_DIR"}  # below .data/, a volume of the container's
LOCAL = {
    "HOST": "127.0.0.1",
    "EVENT_STORE": "sqlite:///.data/events.db",
    "MONGODB": "mongodb://localhost:27017",
    "RABBITMQ_URL": "amqp://guest:guest@localhost:5672/",
    "SANDBOX_PORTAL_URL": "http://127.0.0.1:8019",
    "OTLP_ENDPOINT": "http://localhost:4317",
    "JAEGER_HOST": "localhost",
}

Services = Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="module", params=["debian", "newest"])
def compose(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Gives what a docker-compose makes of the file, or how it refuses, with such a .env."""
    command, environment = debian_compose() if request.param == "debian" else ([str(BIN / "docker-compose")], {})
    folder = tmp_path_factory.mktemp("compose")

    def config(settings: Mapping[str, str]) -> Any:
        file = folder / ".env"
        file.write_text("".join(f"{name}={text}\n" for name, text in settings.items()), encoding="utf-8")
        return run(*command, "--env-file", file, "config", environment=environment)

    return config


@pytest.fixture(scope="module")
def services(compose: Any) -> Services:
    found: Services = yaml.safe_load(accepted(compose({**SECRETS, **LOCAL, "LOG_LEVEL": "DEBUG"})))["services"]
    return found


def test_it_is_everything_on_one_machine(services: Services) -> None:
    assert services.keys() == ROLES.keys() | STORES | {"sandbox"}
    for name, command in {**ROLES, "sandbox": "sandbox"}.items():
        assert services[name]["command"] == [command]
        assert services[name]["image"] == "application-manager-service"
        assert command in {told.name or told.callback.__name__ for told in app.registered_commands if told.callback}


@pytest.mark.parametrize("missing", SECRETS)
def test_a_secret_that_is_missing_or_empty_is_told_by_its_name(compose: Any, missing: str) -> None:
    refused = compose({**SECRETS, missing: ""})
    assert refused.returncode != 0
    assert f"set {missing} in .env" in refused.stderr


def test_addresses_of_this_machine_do_not_reach_the_containers(services: Services) -> None:
    for name, service in services.items():
        told = {key: str(value) for key, value in (service.get("environment") or {}).items()}
        assert not [key for key, value in told.items() if re.search(r"localhost|127\.0\.0\.1|sqlite", value)], name


def test_every_other_setting_of_env_does(services: Services) -> None:
    for role in ROLES:
        told = services[role]["environment"]
        assert {name.upper() for name in Settings.model_fields} - OWN_PATHS <= told.keys()
        assert told["LOG_LEVEL"] == "DEBUG"
        assert told["MAX_RETRIES"] is None, "left to its default"


def test_the_addresses_are_those_of_the_services(services: Services) -> None:
    worker = services["worker"]["environment"]
    settings = Settings(**{name.lower(): text for name, text in worker.items() if text is not None})
    assert (
        settings.event_store == f"postgresql://app_manager:{SECRETS['POSTGRES_PASSWORD']}@postgresql:5432/app_manager"
    )
    assert settings.rabbitmq_url == f"amqp://app_manager:{SECRETS['RABBITMQ_PASSWORD']}@rabbitmq:5672/"
    assert settings.mongodb == "mongodb://mongodb:27017/?replicaSet=rs0"
    assert settings.sandbox_portal_url == f"http://sandbox:{settings.sandbox_portal_port}"
    assert settings.portal_default == "sandbox", "so that the README's first example ends in success"
    for command, place in PLACES.items():
        role = next(name for name, runs in {**ROLES, "sandbox": "sandbox"}.items() if runs == command)
        assert services[role]["environment"][place.port] == str(place.default)


def test_only_this_machine_can_call_it(services: Services) -> None:
    published = {name: str(service["ports"]) for name, service in services.items() if service.get("ports")}
    assert published.keys() == {"api", "sandbox"}
    assert all("127.0.0.1" in ports for ports in published.values())


def test_every_container_may_do_as_little_as_possible(services: Services) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"], name
        assert "privileged" not in service, name
    user = next(step.words for step in instructions((ROOT / "Dockerfile").read_text()) if step.name == "USER")
    assert user != "root"
    assert {name: services[name]["user"] for name in STORES} == {
        "postgresql": "postgres",
        "mongodb": "mongodb",
        "rabbitmq": "rabbitmq",
    }


def test_a_role_begins_when_its_stores_are_healthy_and_ends_with_time_to_spare(services: Services) -> None:
    for role in ROLES:
        waits_for = {name: how["condition"] for name, how in services[role]["depends_on"].items()}
        assert waits_for.keys() >= STORES
        assert set(waits_for.values()) == {"service_healthy"}
        grace = float(services[role]["environment"]["SHUTDOWN_GRACE_SECONDS"])
        assert services[role]["stop_grace_period"] in {"1m0s", "1m", "60s", "0:01:00"}
        assert grace + closing_seconds() <= 60


def test_memory_and_disk_are_enough_for_what_the_code_bounds_itself(services: Services) -> None:
    for role, needed in memory_needed().items():
        assert memory(services[role]["mem_limit"]) >= needed, role
        assert not services[role].get("tmpfs"), "it would count as memory"
        assert "/tmp" in {place_of(volume) for volume in services[role]["volumes"]}, role


def memory(told: int | str) -> int:
    return int(re.sub(r"[mg]$", "", str(told))) * {"m": 2**20, "g": 2**30}.get(str(told)[-1], 1)


def place_of(volume: str | Mapping[str, str]) -> str:
    return re.sub(r":r[wo]$", "", volume).rpartition(":")[2] if isinstance(volume, str) else volume["target"]


def test_the_stores_are_on_a_network_without_a_way_out(services: Services) -> None:
    text = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert text["networks"]["stores"] == {"internal": True}
    assert all(list(services[name]["networks"]) == ["stores"] for name in STORES)
    assert list(services["sandbox"]["networks"]) == ["portals"], "MongoDB has no password"


def test_the_example_names_what_compose_needs() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert all(re.search(rf"^# ?{name}=$", example, re.MULTILINE) for name in SECRETS)
