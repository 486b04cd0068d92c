"""The types of the settings: what a text must be like to become a value (contract config.md).

Each check says what is wrong without the text itself, as that may be a secret; `infra.settings` names the variable.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any
from urllib.parse import urlsplit

import orjson
from pydantic import AfterValidator, BeforeValidator, Field

PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
FLAGS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` in any `seconds`; written `N/period`."""

    limit: int
    seconds: int

    @classmethod
    def parse(cls, text: object) -> "Rate":
        """Raises ValueError for what is not `N/period`."""
        if isinstance(text, Rate):
            return text
        count, _, period = str(text).partition("/")
        if not (count.isascii() and count.isdigit() and int(count) > 0 and period.lower() in PERIODS):
            raise ValueError(f"should be N/period, N at least 1 and the period one of {', '.join(PERIODS)}")
        return cls(int(count), PERIODS[period.lower()])


def _flag(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lower() not in FLAGS:
        raise ValueError("should be one of true/false/1/0/yes/no/on/off")
    return FLAGS[value.lower()]


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _items(value: object) -> object:
    """A list is written with commas, or as a JSON array."""
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        return _json(value, list)
    return [item.strip() for item in value.split(",") if item.strip()]


def _json(text: str, kind: type) -> Any:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"is not JSON (line {error.lineno}, column {error.colno})") from None
    if not isinstance(value, kind):
        raise ValueError(f"should be a JSON {'object' if kind is dict else 'array'}")
    return value


def _networks(value: object) -> object:
    items = _items(value)
    if not isinstance(items, Sequence):
        return items
    try:
        return tuple(ip_network(item, strict=False) for item in items)
    except (ValueError, TypeError):
        raise ValueError("should be addresses or networks such as 10.0.0.0/8, with commas between") from None


def _portals(value: object) -> object:
    entries = _json(value, dict) if isinstance(value, str) else value
    if isinstance(entries, dict) and not all(isinstance(entry, dict) for entry in entries.values()):
        raise ValueError('should be a JSON object of objects: {"portal name": {"adapter": "http", ...}}')
    return entries


def _origin(value: str) -> str:
    address = urlsplit(value)
    if value != "*" and (address.scheme not in {"http", "https"} or value != f"{address.scheme}://{address.netloc}"):
        raise ValueError("should be * or origins such as https://example.org, without a path")
    return value


def _url(*schemes: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        try:
            address = urlsplit(value)
        except ValueError:
            raise ValueError("is not a URL") from None
        if address.scheme not in schemes or not address.netloc:
            raise ValueError(f"should be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return value

    return check


def _issuer(value: str) -> str:
    address = urlsplit(_url("http", "https")(value))
    if "@" in address.netloc or "?" in value or "#" in value:
        raise ValueError("should be an issuer's URL to the letter: no user, no query, no fragment")
    return value


def leaves_in_the_clear(value: str) -> bool:
    """Whether what goes there can be read on the way: plain http that leaves this machine."""
    address = urlsplit(value)
    host = address.hostname or ""
    try:
        is_here = ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    return address.scheme == "http" and not is_here


def _event_store(value: str) -> str:
    address = _url("sqlite", "postgresql")(value.replace("sqlite:///", "sqlite://local/", 1))
    if not urlsplit(address).path.strip("/"):
        raise ValueError("names no file or database: sqlite:///PATH or postgresql://user:password@host:port/database")
    return value


def _queue(value: str) -> str:
    if len(value.encode()) > 255 or value.startswith("amq."):
        raise ValueError("should be a queue's name: at most 255 bytes, and not one of the broker's own (amq.)")
    return value


Flag = Annotated[bool, BeforeValidator(_flag)]
Port = Annotated[int, Field(ge=1, le=65535)]
PortOrOff = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SecondsOrZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
RateLimit = Annotated[Rate, BeforeValidator(Rate.parse)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_items)]
Portals = Annotated[dict[str, dict[str, Any]], BeforeValidator(_portals)]
Upper = BeforeValidator(_upper)
Lower = BeforeValidator(_lower)
QueueName = Annotated[str, AfterValidator(_queue)]
IssuerUrl = Annotated[str, AfterValidator(_issuer)]
HttpUrl = Annotated[str, AfterValidator(_url("http", "https"))]
MongoUri = Annotated[str, AfterValidator(_url("mongodb", "mongodb+srv"))]
AmqpUrl = Annotated[str, AfterValidator(_url("amqp", "amqps"))]
EventStoreUrl = Annotated[str, AfterValidator(_event_store)]
