"""The client's settings, each with its names, its default, and what its text must be like (contract cli.md 2)."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

_FLAGS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_IN_A_HEADER = re.compile(r"[\x21-\x7e]+")
_NOT_IN_A_URL = re.compile(r"[\x00-\x20\x7f-\x9f\\]")

Value = str | float | bool | None


class OutputFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Key:
    """One setting. `read` raises ValueError, which says how the text should be and never the text itself."""

    name: str
    label: str
    default: str  # empty: none
    read: Callable[[str], Value]
    short: str | None = None
    secret: bool = False

    @property
    def variable(self) -> str:
        """Its name in the environment and in the file."""
        return f"APP_MANAGER_{self.name.upper()}"

    def shown(self, value: Value) -> str:
        """As people may see it: a secret never in clear."""
        if value is None:
            return "[not set]"
        return "[set]" if self.secret else written(value)


def written(value: Value) -> str:
    """The text that is read as this value."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_url(text: str) -> str:
    """Without a trailing slash."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        parts, usable = None, False
    if parts is None or not usable or _NOT_IN_A_URL.search(text):
        raise ValueError("should be an address that begins with http:// or https://")
    if parts.username is not None or "?" in text or "#" in text:
        raise ValueError("should be an address without a user, a ? and a #")
    return text.rstrip("/")


def read_token(text: str) -> str:
    if not _IN_A_HEADER.fullmatch(text):
        raise ValueError("should be a token: visible ASCII characters without spaces")
    return text


def _timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ValueError("should be a number of seconds above 0")
    return int(seconds) if seconds.is_integer() else seconds


def _format(text: str) -> str:
    try:
        return OutputFormat(text.lower())
    except ValueError:
        raise ValueError("should be table or json") from None


def _flag(text: str) -> bool:
    if text.lower() not in _FLAGS:
        raise ValueError("should be one of true/false/1/0/yes/no/on/off")
    return _FLAGS[text.lower()]


API_URL = Key("api_url", "API URL", "http://localhost:8009", read_url, short="url")
API_TOKEN = Key("api_token", "API Token", "", read_token, short="token", secret=True)
API_TIMEOUT = Key("api_timeout", "Timeout", "30", _timeout, short="timeout")
OUTPUT_FORMAT = Key("output_format", "Output", "table", _format, short="output")
NO_COLOR = Key("no_color", "No Color", "false", _flag)
KEYS = (API_URL, API_TOKEN, API_TIMEOUT, OUTPUT_FORMAT, NO_COLOR)


def key_named(name: str) -> Key | None:
    """By its name or its short form, in any letter case."""
    return next((key for key in KEYS if name.lower() in {key.name, key.short}), None)
