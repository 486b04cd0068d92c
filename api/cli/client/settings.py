"""Which settings the client works with, and who said so (contract cli.md 1 and 2).

An option goes before the environment, that before the user's file, that before the default; an empty text says nothing,
but for an option. `.data/services.env`, which `app-manager up` writes in the folder where it runs, is asked for the
address of the service last before the default: so that the commands in that folder find that service, and what a user
has set goes before it all the same. Only an address of this machine is taken from there, as a folder may come from
anybody and the user's token goes to that address. The service's own settings and its `.env` have no say.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from api.cli.client.keys import (
    API_TIMEOUT,
    API_TOKEN,
    API_URL,
    NO_COLOR,
    OUTPUT_FORMAT,
    Key,
    OutputFormat,
    Value,
    read_url,
)
from api.cli.client.settings_file import read_settings, settings_file
from api.cli.ending import CommandFailed

SERVICES_FILE = Path(".data/services.env")  # in the current folder; infra.settings has it, too
OPTION, ENVIRONMENT, DEFAULT = "option", "environment", "default"


@dataclass(frozen=True, slots=True)
class Said:
    """A text, and where it stands."""

    text: str
    place: str


@dataclass(frozen=True)
class Settings:
    """Each setting is looked up when it is asked for: a bad one disturbs only who needs it.

    `options`: what the command line gave, by the names of the keys.
    """

    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def api_url(self) -> str:
        return str(self.value(API_URL))

    @property
    def api_token(self) -> str | None:
        token = self.value(API_TOKEN)
        return None if token is None else str(token)

    @property
    def api_timeout(self) -> float:
        """Seconds."""
        seconds = self.value(API_TIMEOUT)
        assert isinstance(seconds, int | float), "it has a default"
        return seconds

    @property
    def output_format(self) -> OutputFormat:
        return OutputFormat(str(self.value(OUTPUT_FORMAT)))

    @property
    def no_color(self) -> bool:
        return bool(self.value(NO_COLOR))

    @cached_property
    def path(self) -> Path:
        return settings_file()

    def said(self, key: Key) -> Said:
        """The text that counts."""
        if key.name in self.options:
            return Said(self.options[key.name], OPTION)
        if text := self._environment(key):
            return Said(text, ENVIRONMENT)
        if text := self._file.get(key.variable, "").strip():
            return Said(text, str(self.path))
        if key is API_URL and (url := _url_of_a_service_here()):
            return Said(url, str(SERVICES_FILE))
        return Said(key.default, DEFAULT)

    def value(self, key: Key) -> Value:
        """None where there is none. Raises CommandFailed for a text that cannot be used."""
        said = self.said(key)
        try:
            return key.read(said.text) if said.text else None
        except ValueError as error:
            raise CommandFailed(f"{key.variable} {error} (from {said.place})") from None

    @cached_property
    def _file(self) -> dict[str, str]:
        return read_settings(self.path)

    def _environment(self, key: Key) -> str:
        text = os.environ.get(key.variable, "").strip()
        if not text and key is NO_COLOR and os.environ.get("NO_COLOR"):
            return "true"
        return text


def _url_of_a_service_here() -> str | None:
    try:
        url = read_url(read_settings(SERVICES_FILE).get(API_URL.variable, ""))
    except (CommandFailed, ValueError):
        return None
    return url if _is_of_this_machine(urlsplit(url).hostname or "") else None


def _is_of_this_machine(host: str) -> bool:
    """A name of it, or an address that one of its interfaces has."""
    import socket

    if host == "localhost":
        return True
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.inet_pton(family, host)  # a number: no name server is asked
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
