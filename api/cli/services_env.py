"""`.data/services.env`: where `up` tells the other commands, and any shell, what it started (contract cli.md 5).

`infra.settings` reads it below the environment and `.env`. It holds the development key, so only its owner may read it.
"""

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from api.cli.ending import CommandFailed
from infra.settings import DEFAULT_SECRET_KEY, SERVICES_FILE

_KEY_BYTES = 48
_PLAIN = re.compile(r"[A-Za-z0-9@%_+=:,./-]*")
_NOT_IN_QUOTES = re.compile(r"['\\\n\r]|\$\{")


def read_services(path: Path = SERVICES_FILE) -> dict[str, str]:
    """What the last `up` in this folder wrote; nothing if there was none."""
    try:
        return {name: text for name, text in dotenv_values(path).items() if text is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{path} cannot be read: {error}; delete it, and it is made anew") from None


def write_services(values: Mapping[str, str], path: Path = SERVICES_FILE) -> None:
    """Writes all or nothing, also when killed half-way."""
    lines = [line for name, value in values.items() if (line := _line(name, value))]
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write("# Written by `app-manager up`. A shell may source it.\n" + "".join(lines))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def secret_key_of(services: Mapping[str, str]) -> str:
    """The one that the first `up` in this folder made, else a new one. What everybody knows is no key to keep."""
    kept = services.get("SECRET_KEY")
    return kept if kept and kept != DEFAULT_SECRET_KEY else secrets.token_urlsafe(_KEY_BYTES)


def _line(name: str, value: str) -> str:
    """One line that a shell and the settings' reader understand alike.

    A value that they would read differently can only be the user's own, who has it in the environment or in `.env`:
    it is left out.
    """
    if _PLAIN.fullmatch(value):
        return f"{name}={value}\n"
    return "" if _NOT_IN_QUOTES.search(value) else f"{name}='{value}'\n"
