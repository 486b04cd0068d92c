"""How running work is told that its worker stops: first to begin nothing new, then to break off (messaging.md 3)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class BrokenOff(Exception):
    """The time for running work is over."""


class Halt:
    """One for a worker."""

    def __init__(self) -> None:
        self.begins_nothing = False
        self.breaks_off = False
        self._scopes: set[asyncio.Timeout] = set()

    def begin_nothing(self) -> None:
        self.begins_nothing = True

    def break_off(self) -> None:
        """Ends what runs inside `breakable`, now and from now on."""
        if self.breaks_off:
            return
        self.begin_nothing()
        self.breaks_off = True
        for scope in self._scopes:
            scope.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def breakable(self) -> AsyncIterator[None]:
        """Raises BrokenOff inside when the time is over."""
        scope = asyncio.timeout(0 if self.breaks_off else None)
        try:
            async with scope:
                self._scopes.add(scope)
                yield
        except TimeoutError:
            if not scope.expired():
                raise
            raise BrokenOff from None
        finally:
            self._scopes.discard(scope)
