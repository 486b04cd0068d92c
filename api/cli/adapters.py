"""Looks whether portals and document writer can be had as the settings say, before anything is started."""

from api.cli.ending import CommandFailed
from infra.settings import Settings


def check_adapters(settings: Settings) -> None:
    """Raises CommandFailed with one line. Looks through the installed packages: not for the event loop."""
    from consumers.documents import find_writer
    from consumers.portals.registry import Portals

    try:
        find_writer(settings.document_writer)
        Portals(
            settings.portals,
            default=settings.portal_default,
            sandbox_url=settings.sandbox_portal_url,
            timeout=settings.portal_timeout_seconds,
        )
    except ValueError as error:
        raise CommandFailed(str(error)) from None
