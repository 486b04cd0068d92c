"""From the setting `PORTALS` to opened portals (contract config.md, "Portals and documents")."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from consumers.entry_points import load_adapter
from consumers.portals import Adapter, Delivery, Portal
from consumers.portals.entry import PortalEntry, one_line
from consumers.portals.limits import LimitedPortal

GROUP = "app_manager.portals"
SANDBOX = "sandbox"


class Portals:
    """The portals of one worker, which share nothing with each other.

    Made outside the event loop, for it looks for installed packages; open inside `async with`. A setting that cannot be
    used raises ValueError with one line that says why.
    """

    def __init__(self, entries: Mapping[str, Any], *, default: str | None, sandbox_url: str, timeout: float) -> None:
        """`timeout` in seconds, for entries that name none; `default` is None where unlisted portals have no home."""
        self._by_name: dict[str, LimitedPortal] = {}
        for name, entry in entries.items():
            if name.casefold() in self._by_name:
                raise ValueError(f"PORTALS: {name}: listed twice (names ignore case)")
            self._by_name[name.casefold()] = _portal(name, entry, timeout)
        if SANDBOX not in self._by_name:
            url = f"{sandbox_url.rstrip('/')}/submit"
            entry = {"adapter": "http", "url": url, "delivery": Delivery.AT_LEAST_ONCE}
            self._by_name[SANDBOX] = _portal(SANDBOX, entry, timeout)
        if default and default.casefold() not in self._by_name:
            raise ValueError(f"PORTAL_DEFAULT: {default!r} is not listed in PORTALS")
        self._default = self._by_name[default.casefold()] if default else None
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            for portal in self._by_name.values():
                await opening.enter_async_context(portal.adapter)
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.__aexit__(kind, error, trace)

    def find(self, name: str | None) -> Portal | None:
        """The portal of a job, in any case; the default one for a name that is not listed; None if there is none."""
        return self._by_name.get((name or "").casefold(), self._default)


def _portal(name: str, given: Any, timeout: float) -> LimitedPortal:
    if not isinstance(given, Mapping):
        raise ValueError(f"PORTALS: {name}: not an object")
    try:
        entry = PortalEntry.model_validate({"timeout": timeout} | {k: v for k, v in given.items() if v is not None})
        adapter: Adapter = load_adapter(GROUP, entry.adapter)(entry.model_dump())
    except ValidationError as error:
        raise ValueError(f"PORTALS: {name}: {one_line(error)}") from None
    except ValueError as error:
        raise ValueError(f"PORTALS: {name}: {error}") from error
    return LimitedPortal(name, entry, adapter)
