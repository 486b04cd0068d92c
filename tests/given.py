"""Given events, when a command, then events: how every rule of the domain is told."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import pytest

from domain.application import Application
from domain.batch import Batch
from domain.event import Event
from tests.builders import APPLICATION_ID, BATCH_ID

State = TypeVar("State")


class Given:
    """What has happened to an application."""

    def __init__(self, *events: Event) -> None:
        self.history = events
        self.application = Application.fold(APPLICATION_ID, events)

    def when(self, command: Callable[[Application], Sequence[Event]]) -> "When[Application]":
        return When(self.history, self.application, command)


class GivenBatch:
    """What has happened to a batch itself."""

    def __init__(self, *events: Event) -> None:
        self.history = events
        self.batch = Batch.fold(BATCH_ID, events)

    def when(self, command: Callable[[Batch], Sequence[Event]]) -> "When[Batch]":
        return When(self.history, self.batch, command)


class When(Generic[State]):
    """The command, which has not been given yet."""

    def __init__(self, history: Sequence[Event], state: State, command: Callable[[State], Sequence[Event]]) -> None:
        self.history, self.state, self.command = history, state, command

    def then(self, *events: Event) -> None:
        """Exactly these follow; none: nothing follows."""
        assert list(self.command(self.state)) == list(events)

    def then_history(self, *events: Event) -> None:
        """What follows makes the whole history this one."""
        assert [*self.history, *self.command(self.state)] == list(events)

    def then_refused(self, error: type[Exception]) -> None:
        with pytest.raises(error):
            self.command(self.state)
