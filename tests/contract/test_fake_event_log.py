"""The event log in memory keeps the promises of the real ones: the same tests, with it in their place."""

from dataclasses import dataclass, field

import pytest

from tests.contract.test_event_log import *  # noqa: F403  every test of the port
from tests.fakes.event_log import FakeClaims, FakeEventLog


@dataclass(frozen=True, slots=True)
class FakeStore:
    log: FakeEventLog = field(default_factory=FakeEventLog)

    @property
    def claims(self) -> FakeClaims:
        return self.log.claims


@pytest.fixture  # type: ignore[no-redef]
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture  # type: ignore[no-redef]
def other(store: FakeStore) -> FakeStore:
    return store
