"""Tests of durations that no machine is too slow for: the clock stands while anybody works."""

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

from tests.simulation.loop import SimLoop

P = ParamSpec("P")


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs it on a loop whose time jumps to the next deadline when all wait. Nothing in it may come from outside."""

    @functools.wraps(test)
    def run(*arguments: P.args, **named: P.kwargs) -> None:
        loop = SimLoop(lambda: 0.0)
        try:
            loop.run_until_complete(test(*arguments, **named))
        finally:
            loop.close()
        assert loop.errors == []

    return run
