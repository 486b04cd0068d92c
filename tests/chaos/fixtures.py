"""For tests that strike roles and connections, and leave the servers to the other tests."""

from pathlib import Path

import pytest

from infra.local_servers import Running
from tests.chaos.estate import Servers


@pytest.fixture
def their_servers(
    request: pytest.FixtureRequest, servers_folder: Path, mongodb_server: Running, rabbitmq_server: Running
) -> Servers:
    """Those of all tests: only roles are killed here."""
    running = {"mongodb": mongodb_server, "rabbitmq": rabbitmq_server}
    return Servers(servers_folder, running | {"postgresql": request.getfixturevalue("postgresql_server")})
