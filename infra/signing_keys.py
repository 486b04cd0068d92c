"""The keys that an issuer publishes (RFC 7517), as what they may be used for here: to check signatures.

The one algorithm of a key follows from its kind: RS256 for RSA, ES256 for EC on P-256. Nothing that a token says takes
part in that; a token's header only chooses among the keys. So a public key can never be taken for the secret of an
HMAC, and `none` is no algorithm at all. From each published key only the public numbers are taken.

Keys of other kinds (`oct` too), for encryption, for another algorithm, or too short are left out, as RFC 7517 5 asks
for what is not understood; a document that is no key set at all is refused as a whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode

from infra.tokens import MALFORMED, signed_claims

KEYS_MAX = 100  # of one set
RSA_BITS = range(2048, 8192 + 1)


class NotAKeySet(Exception):
    """What was published is no set of keys. One line that says why."""


class _Registry(JWSRegistry):
    """Allows one algorithm. Room for a header with certificates, and for the signature of the longest key."""

    max_header_length = 8192
    max_signature_length = 2048

    def __init__(self, algorithm: str) -> None:
        super().__init__(algorithms=[algorithm], strict_check_header=False)


_REGISTRIES = {algorithm: _Registry(algorithm) for algorithm in ("RS256", "ES256")}

Header = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key. `kid` is its name, if it has one."""

    kid: str | None
    key: RSAKey | ECKey

    @property
    def algorithm(self) -> str:
        return "RS256" if isinstance(self.key, RSAKey) else "ES256"

    def claims_of(self, token: str) -> dict[str, Any]:
        """What the token says, if this key signed it. Raises InvalidToken."""
        return signed_claims(token, self.key, _REGISTRIES[self.algorithm])


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys that can be used, in the order in which they were published. `left_out`: how many others there were."""

    keys: Sequence[SigningKey]
    left_out: int = 0

    def find(self, header: Header) -> SigningKey | None:
        """The key that the header of a token names; without a name, the only one that there is for the algorithm."""
        kid, found = header.get("kid"), [key for key in self.keys if key.algorithm == header.get("alg")]
        if kid is None:
            return found[0] if len(found) == 1 else None
        return next((key for key in found if key.kid == kid), None)


def header_of(token: str) -> Header | None:
    """The header of a token that a key of some set may have signed; None for any other text."""
    try:
        header = jws.extract_compact(token.encode(), registry=_REGISTRIES["RS256"]).headers()
        known, named = header.get("alg") in ("RS256", "ES256"), isinstance(header.get("kid", ""), str)
    except MALFORMED:  # a header may be any JSON
        return None
    return header if known and named else None


def read_key_set(document: bytes) -> KeySet:
    """Raises NotAKeySet. May take some milliseconds."""
    try:
        entries = orjson.loads(document)["keys"]
    except orjson.JSONDecodeError:
        raise NotAKeySet("it is not JSON") from None
    except (KeyError, TypeError):
        raise NotAKeySet("it has no list of keys") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise NotAKeySet("it has no list of keys")
    if len(entries) > KEYS_MAX:
        raise NotAKeySet(f"it has more than {KEYS_MAX} keys")
    keys = tuple(_usable(entries))
    return KeySet(keys, len(entries) - len(keys))


def _usable(entries: Sequence[Mapping[str, Any]]) -> Iterator[SigningKey]:
    for entry in entries:
        try:
            key = _signing_key(entry)
        except (JoseError, ValueError, TypeError):  # numbers that are none, a point beside the curve
            continue
        if key is not None and _may_check(entry, key.algorithm):
            yield key


def _signing_key(entry: Mapping[str, Any]) -> SigningKey | None:
    match entry:
        case {"kid": kid} if not isinstance(kid, str):
            return None
        case {"kty": "RSA", "n": str(n), "e": str(e)} if _bits(n) in RSA_BITS:
            return SigningKey(entry.get("kid"), RSAKey.import_key({"kty": "RSA", "n": n, "e": e}))
        case {"kty": "EC", "crv": "P-256", "x": str(x), "y": str(y)}:
            return SigningKey(entry.get("kid"), ECKey.import_key({"kty": "EC", "crv": "P-256", "x": x, "y": y}))
        case _:
            return None


def _bits(number: str) -> int:
    return int.from_bytes(urlsafe_b64decode(number.encode())).bit_length()


def _may_check(entry: Mapping[str, Any], algorithm: str) -> bool:
    """Whether the key's owner means it for this (RFC 7517 4.2 to 4.4)."""
    operations = entry.get("key_ops", ["verify"])
    return (
        entry.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and entry.get("alg", algorithm) == algorithm
    )
