"""Adapters that are found by entry point, so that a user adds one without touching the service (design 7)."""

from importlib.metadata import entry_points
from typing import Any


def load_adapter(group: str, name: str) -> Any:
    """The class that an installed package declares under this name. ValueError, in one line, if there is none.

    Looks through the installed packages, so it is not for the event loop.
    """
    found = {entry.name: entry for entry in entry_points(group=group)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise ValueError(f"no adapter {name!r} in the entry point group {group} (known: {known})")
    try:
        return found[name].load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"the adapter {name!r} of {group} cannot be loaded: {error}") from error
