"""What every test runs under: the guarded event loop."""

import os
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings

from infra.settings import Settings

pytest_plugins = ["tests.servers"]

OURS = ["domain", "projections", "consumers", "api", "infra"]

settings.register_profile("house", deadline=None, print_blob=True)  # time limits are pytest's
settings.load_profile("house")


@pytest.fixture(scope="session", autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Fails whatever blocks the event loop below a line of ours: files, sockets, SQLite, locks, `time.sleep`."""
    with blockbuster_ctx(OURS) as guard:
        yield guard


@pytest.fixture(scope="session", autouse=True)
def only_our_settings() -> None:
    """What the developer's shell says of the service is not what the tests are about."""
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
