"""One entry of the setting `PORTALS`: the fields that every adapter has (contract config.md)."""

from pydantic import ConfigDict, ValidationError

from infra.setting_types import PortalFields, Seconds


class PortalEntry(PortalFields):
    """Fields of the adapter's own stand beside these; an adapter that knows them all may forbid others."""

    model_config = ConfigDict(frozen=True)

    timeout: Seconds


def one_line(error: ValidationError) -> str:
    """Every mistake of an entry, without the values: they may hold secrets."""
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
