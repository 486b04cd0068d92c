"""Tokens of the callers: signed JWTs (contract http.md 1.2). Those of a shared secret, and what is common to all.

A signature is costly to check (20 to 30 us) and the same token comes with every request, so what a good token says is
kept for the CACHED_TOKENS used last. `exp` and `nbf` are looked at in each call. A refused token is not kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Protocol

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, RSAKey
from joserfc.jws import JWSRegistry

from domain.errors import AuthenticationRequired, InvalidToken, TokenExpired

CACHED_TOKENS = 4096
LATEST = datetime.max.replace(tzinfo=UTC)
REFUSED = "The token cannot be accepted"  # whatever is wrong with its signature or form
MALFORMED = (JoseError, ValueError, TypeError, AttributeError, RecursionError)  # what joserfc raises for odd texts


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says of its bearer. `claims` are all of them, for the admin claims among them."""

    user_id: str
    claims: Mapping[str, Any]
    expires_at: datetime | None
    not_before: datetime | None


class Tokens(Protocol):
    """Whose word on a caller counts."""

    async def verify(self, token: str, now: datetime) -> Claims:
        """Raises InvalidToken or TokenExpired; IssuerUnavailable when it cannot be checked now. Rarely waits."""

    @property
    def ready(self) -> bool:
        """Whether tokens can be checked now."""


class SecretTokens:
    """`Tokens` of a shared secret. Never waits."""

    def __init__(self, key: str, algorithm: str) -> None:
        self._verifier = TokenVerifier(key, algorithm)

    async def verify(self, token: str, now: datetime) -> Claims:
        return self._verifier.verify(token, now)

    @property
    def ready(self) -> bool:
        return True


class TokenVerifier:
    """Accepts tokens signed with one key by one algorithm, whatever a token's own header says."""

    def __init__(self, key: str, algorithm: str) -> None:
        self._key = OctKey.import_key(key)
        self._algorithm = algorithm
        self._read = lru_cache(CACHED_TOKENS)(self._read_token)

    def verify(self, token: str, now: datetime) -> Claims:
        """Raises InvalidToken or TokenExpired."""
        return in_time(self._read(token), now)

    def _read_token(self, token: str) -> Claims:
        registry = JWSRegistry(algorithms=[self._algorithm], strict_check_header=False)
        return read_claims(signed_claims(token, self._key, registry), "id")


def signed_claims(token: str, key: OctKey | RSAKey | ECKey, registry: JWSRegistry) -> dict[str, Any]:
    """What a token says, if this key signed it by an algorithm of the registry. Raises InvalidToken."""
    try:
        return jwt.decode(token, key, registry=registry).claims
    except MALFORMED:
        raise InvalidToken(REFUSED) from None


def read_claims(said: Mapping[str, Any], user_claim: str) -> Claims:
    """What signed claims mean, the user named by one of them. Raises InvalidToken."""
    return Claims(_user(said.get(user_claim)), said, _time(said, "exp"), _time(said, "nbf"))


def in_time(claims: Claims, now: datetime) -> Claims:
    """The same, without leeway. Raises InvalidToken or TokenExpired."""
    if claims.expires_at is not None and now >= claims.expires_at:
        raise TokenExpired("The token has expired")
    if claims.not_before is not None and now < claims.not_before:
        raise InvalidToken("The token is not valid yet")
    return claims


def is_bearer(authorization: str | None) -> bool:
    """Whether an `Authorization` header is of the one scheme that is read."""
    return (authorization or "").partition(" ")[0].lower() == "bearer"


def bearer_token(authorization: str | None) -> str:
    """The token of an `Authorization` header. Raises AuthenticationRequired."""
    token = (authorization or "").partition(" ")[2]
    if not is_bearer(authorization) or not token.strip():
        raise AuthenticationRequired("A header Authorization: Bearer <token> is needed")
    return token.strip()


def sign_token(
    user_id: str,
    *,
    key: str,
    algorithm: str,
    issued_at: datetime,
    life: timedelta,
    claims: Mapping[str, Any] | None = None,
) -> str:
    """A token for a user, with further claims such as those of an admin."""
    times = {"iat": int(issued_at.timestamp()), "exp": int((issued_at + life).timestamp())}
    payload = {"id": user_id, **times, **(claims or {})}
    return jwt.encode({"alg": algorithm}, payload, OctKey.import_key(key), algorithms=[algorithm])


def _user(user: object) -> str:
    """`4` and `"4"` are the same user."""
    if isinstance(user, int) and not isinstance(user, bool):
        return str(user)
    if not isinstance(user, str) or not user or not _is_unicode(user):
        raise InvalidToken("The token names no user")
    return user


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _time(claims: Mapping[str, Any], name: str) -> datetime | None:
    """A NumericDate; one beyond what a calendar holds is its end."""
    seconds = claims.get(name)
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds != seconds:  # noqa: PLR0124  NaN
        raise InvalidToken(f"The token's {name} is not a number of seconds")
    if seconds >= LATEST.timestamp():
        return LATEST
    return datetime.fromtimestamp(max(0, seconds), UTC)
