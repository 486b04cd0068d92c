"""The service's settings as a command finds them in its folder: what the user says, and what `up` wrote for the rest.

Of what `up` starts or makes itself, a variable that is there but empty says nothing (contract cli.md 5: unset). It
hides what a later place says, as in `infra.settings`: the environment goes before `.env`. But it does not hide what
`up` made because of it: `.data/services.env` counts then, so that `up` and the commands beside it have the same key and
servers.
"""

import os
from collections.abc import Set

from dotenv import dotenv_values
from pydantic import SecretStr

from api.cli.services_env import read_services
from infra.settings import ENV_FILE, Settings, load_settings

_OF_UP = ("mongodb", "rabbitmq_url", "event_store", "secret_key")  # fields of Settings


def said_settings() -> Settings:
    """Without what an earlier `up` wrote; `model_fields_set` has what the user says. Raises SettingsError."""
    settings = load_settings(with_services=False)
    return Settings.model_construct(settings.model_fields_set - _empty(), **dict(settings))


def settings_here() -> Settings:
    """With what an earlier `up` wrote, which was checked when it did. Raises SettingsError, CommandFailed."""
    settings = load_settings()
    written = read_services()
    texts = {field: text for field in _empty() if (text := written.get(field.upper()))}
    return settings.model_copy(
        update={field: SecretStr(text) if field == "secret_key" else text for field, text in texts.items()}
    )


def _empty() -> Set[str]:
    """Those whose variable is empty in the first place that has it; names are read as `infra.settings` reads them."""
    texts = {name.lower(): text for name, text in dotenv_values(ENV_FILE).items()}
    texts |= {name.lower(): text for name, text in os.environ.items() if name.isupper()}
    return {field for field in _OF_UP if (text := texts.get(field)) is not None and not text.strip()}
