"""What every test runs under: the guarded event loop, and how a run is spread over processes."""

import os
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings
from xdist.remote import Producer

from infra.settings import Settings
from tests.spread import OneServiceAtATime

pytest_plugins = ["tests.servers"]

OURS = ["domain", "projections", "consumers", "api", "infra"]

settings.register_profile("house", deadline=None, print_blob=True)  # time limits are pytest's
settings.load_profile("house")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer | None) -> OneServiceAtATime | None:
    return OneServiceAtATime(config, log) if config.getvalue("dist") == "loadfile" else None


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
