"""The command service over a log in memory."""

import pytest

from domain.commands import ApplicationCommands
from tests.fakes.clock import FakeClock
from tests.fakes.rivalled_log import RivalledLog
from tests.stories import POLICY


@pytest.fixture
def log() -> RivalledLog:
    return RivalledLog()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def commands(log: RivalledLog, clock: FakeClock) -> ApplicationCommands:
    return ApplicationCommands(log, clock, POLICY)
