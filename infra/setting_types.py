"""The types of the settings: what a text must be like to become a value (contract config.md).

Each check says what is wrong without the text itself, as that may be a secret; `infra.settings` names the variable.
An address is read by the library that will use it, so that none gets through that later fails as something else. None
is looked up, and nothing is connected to.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

import orjson
import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri, parse_userinfo, split_hosts, split_options
from yarl import URL

from domain.application_events import Delivery

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


def _portal_entries(entries: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    if len({name.casefold() for name in entries}) < len(entries):
        raise ValueError("lists a portal twice (names ignore case)")
    for name, entry in entries.items():
        try:
            PortalFields.model_validate({field: value for field, value in entry.items() if value is not None})
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
            told = f"{problem['loc'][0]} {problem['msg'].removeprefix('Input ')}"
            raise ValueError(f"has a wrong entry {name}: {told}") from None
    return entries


def _queue(value: str) -> str:
    if len(value.encode()) > 255 or value.startswith("amq."):
        raise ValueError("should be a queue's name: at most 255 bytes, and not one of the broker's own (amq.)")
    return value


# -- addresses --------------------------------------------------------------------------------------------------------

ESCAPED = "special characters in user and password are written as %40 for @ and so on"
BAD_PORT = f"has a port that is not a number from 1 to 65535 ({ESCAPED})"


def _split(value: str, *schemes: str) -> SplitResult:
    try:
        address = urlsplit(value)
    except ValueError:
        raise ValueError("is not a URL") from None
    if address.scheme not in schemes or not address.netloc:
        raise ValueError(f"should be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    return address


def _url(*schemes: str) -> Callable[[str], str]:
    """Of those that aiohttp and aio-pika ask, by the reader that both have."""

    def check(value: str) -> str:
        address = _split(value, *schemes)
        try:
            port = address.port
        except ValueError:
            port = 0
        if port == 0:
            raise ValueError(BAD_PORT)
        try:
            URL(value)
        except (ValueError, IndexError):
            raise ValueError(f"is not a URL ({ESCAPED})") from None
        return value

    return check


def _origin(value: str) -> str:
    if value != "*" and not _is_origin(value):
        raise ValueError("should be * or origins such as https://example.org, without a path")
    return value


def _is_origin(value: str) -> bool:
    try:
        address = urlsplit(_url("http", "https")(value))
    except ValueError:
        return False
    return value == f"{address.scheme}://{address.netloc}"


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
    if value.startswith("sqlite:"):
        if not value.startswith("sqlite:///") or not value.removeprefix("sqlite:///").strip("/"):
            raise ValueError("names no file: sqlite:///PATH, and sqlite:////PATH for one that begins at the root")
        return value
    return _postgresql(_split(value, "sqlite", "postgresql"), value)


def _postgresql(address: SplitResult, value: str) -> str:
    """It may name several hosts, each with a port of its own."""
    if address.netloc.count("@") > 1:
        raise ValueError(f"has more than one @ ({ESCAPED})")
    if not address.path.strip("/"):
        raise ValueError(f"names no database: postgresql://user:password@host:port/database ({ESCAPED})")
    try:
        words = conninfo_to_dict(value)
    except (psycopg.Error, UnicodeError):
        raise ValueError(f"has what PostgreSQL's client does not take: an option, or a % ({ESCAPED})") from None
    ports = [port for port in str(words.get("port") or "").split(",") if port]
    if not all(port.isascii() and port.isdigit() and 0 < int(port) < 65536 for port in ports):
        raise ValueError(BAD_PORT)
    return value


def _mongo_uri(value: str) -> str:
    """It may name several hosts. One of kind mongodb+srv, which only a name server can tell, is checked in its form."""
    scheme = _split(value, "mongodb", "mongodb+srv").scheme
    if not value.startswith(scheme):
        raise ValueError(f"should begin with {scheme}:// in small letters")
    place, _, options = value.partition("://")[2].partition("?")
    user, has_user, hosts = place.partition("/")[0].rpartition("@")
    with _refused(f"has a user that MongoDB's client does not take ({ESCAPED})"):
        if has_user:
            parse_userinfo(user)
    with _refused(f"has a host or port that MongoDB's client does not take ({ESCAPED})"):
        nodes = split_hosts(hosts, default_port=None)
    if scheme == "mongodb+srv" and (len(nodes) > 1 or nodes[0][1] is not None):
        raise ValueError("should name one host, without a port, as it begins with mongodb+srv://")
    with _refused("names a database that MongoDB's client does not take"):
        parse_uri(f"mongodb://{place}")
    for option in re.split("[&;]", options) if options else ():
        with _refused(f"has an option that MongoDB's client does not take: {_name_of(option, options)}"):
            split_options(option)
    with _refused("has options that MongoDB's client does not take together"):
        if scheme == "mongodb":
            parse_uri(value)
        elif options:
            split_options(options)
    return value


def _name_of(option: str, options: str) -> str:
    """Nothing that may be a part of a password: with a ? in it that was not escaped, its end looks like an option."""
    name = option.partition("=")[0]
    return name if name.isalpha() and "@" not in options else f"name=value, with & between ({ESCAPED})"


@contextmanager
def _refused(why: str) -> Iterator[None]:
    """Turns what the client's parser raises into `why`, as its own texts repeat values."""
    try:
        with warnings.catch_warnings(action="ignore"):  # they come when the client is made
            yield
    except (PyMongoError, ValueError, TypeError, OSError):  # the last: of a file that an option names
        raise ValueError(why) from None


# -- the types --------------------------------------------------------------------------------------------------------

Flag = Annotated[bool, BeforeValidator(_flag)]
Port = Annotated[int, Field(ge=1, le=65535)]
PortOrOff = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SecondsOrZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
RateLimit = Annotated[Rate, BeforeValidator(Rate.parse)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_items)]
Portals = Annotated[dict[str, dict[str, Any]], BeforeValidator(_portals), AfterValidator(_portal_entries)]
Upper = BeforeValidator(_upper)
Lower = BeforeValidator(_lower)
QueueName = Annotated[str, AfterValidator(_queue)]
IssuerUrl = Annotated[str, AfterValidator(_issuer)]
HttpUrl = Annotated[str, AfterValidator(_url("http", "https"))]
MongoUri = Annotated[str, AfterValidator(_mongo_uri)]
AmqpUrl = Annotated[str, AfterValidator(_url("amqp", "amqps"))]
EventStoreUrl = Annotated[str, AfterValidator(_event_store)]


class PortalFields(BaseModel):
    """What an entry of PORTALS has for every adapter, to be refused by every role: the worker alone has adapters."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    adapter: str = "http"
    timeout: Seconds | None = None
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 8
    rate: Seconds | None = None
    delivery: Delivery = Delivery.AT_MOST_ONCE
