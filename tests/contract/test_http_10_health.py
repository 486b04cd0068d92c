"""GET /health/live, /health/ready, /health and /healthcheck (contract http.md 10, 16). Outages: test_api_outages.py."""

import re

import pytest

from tests.api import Api

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


async def test_a_serving_process_is_alive(api: Api) -> None:
    answer = await api.ask("GET", "/health/live")
    assert (answer.status, list(answer.json)) == (200, ["status", "timestamp"])
    assert answer.json["status"] == "alive"
    assert TIMESTAMP.fullmatch(answer.json["timestamp"])


async def test_it_is_ready_although_rabbitmq_is_away(api: Api) -> None:
    answer = await api.ask("GET", "/health/ready")
    assert (answer.status, list(answer.json)) == (200, ["status", "timestamp", "checks"])
    assert answer.json["status"] == "ready"
    assert answer.json["checks"] == {"mongodb": "ready", "rabbitmq": "not_ready", "event_store": "ready"}


@pytest.mark.parametrize("path", ["/health", "/healthcheck"])
async def test_but_it_is_not_healthy(api: Api, path: str) -> None:
    answer = await api.ask("GET", path)
    assert answer.status == 503
    assert list(answer.json) == ["status", "version", "service", "environment", "timestamp", "dependencies"]
    assert answer.json["status"] == "unhealthy"
    assert answer.json["version"] == "0.1.0"
    assert answer.json["service"] == "application-manager-service"
    assert answer.json["environment"] == "development"
    mongodb, rabbitmq, event_store = answer.json["dependencies"]
    assert rabbitmq == {"name": "rabbitmq", "status": "unhealthy", "latency_ms": None, "message": "cannot be used"}
    for well, name in ((mongodb, "mongodb"), (event_store, "event_store")):
        assert (well["name"], well["status"], well["message"]) == (name, "healthy", None)
        assert 0 < well["latency_ms"] < 2000


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/health", "/healthcheck"])
async def test_no_token_is_needed_and_a_bad_one_is_not_looked_at(api: Api, path: str) -> None:
    assert (await api.ask("GET", path, headers={"Authorization": "Bearer x"})).status in {200, 503}
