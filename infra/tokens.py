"""Tokens of the callers: signed JWTs (contract http.md 1.2).

A signature is costly to check (20 to 30 us) and the same token comes with every request, so what a good token says is
kept for the CACHED_TOKENS used last. `exp` and `nbf` are looked at in each call. A refused token is not kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.jws import JWSRegistry

from domain.errors import AuthenticationRequired, InvalidToken, TokenExpired

CACHED_TOKENS = 4096
LATEST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says of its bearer. `claims` are all of them, for the admin claims among them."""

    user_id: str
    claims: Mapping[str, Any]
    expires_at: datetime | None
    not_before: datetime | None


class TokenVerifier:
    """Accepts tokens signed with one key by one algorithm, whatever a token's own header says."""

    def __init__(self, key: str, algorithm: str) -> None:
        self._key = OctKey.import_key(key)
        self._algorithm = algorithm
        self._read = lru_cache(CACHED_TOKENS)(self._read_token)

    def verify(self, token: str, now: datetime) -> Claims:
        """Raises InvalidToken or TokenExpired."""
        claims = self._read(token)
        if claims.expires_at is not None and now >= claims.expires_at:
            raise TokenExpired("The token has expired")
        if claims.not_before is not None and now < claims.not_before:
            raise InvalidToken("The token is not valid yet")
        return claims

    def _read_token(self, token: str) -> Claims:
        registry = JWSRegistry(algorithms=[self._algorithm], strict_check_header=False)
        try:
            said = jwt.decode(token, self._key, registry=registry).claims
        except (JoseError, ValueError, RecursionError):
            raise InvalidToken("The token cannot be accepted") from None
        return Claims(_user(said), said, _time(said, "exp"), _time(said, "nbf"))


def bearer_token(authorization: str | None) -> str:
    """The token of an `Authorization` header. Raises AuthenticationRequired."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
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


def _user(claims: Mapping[str, Any]) -> str:
    """`4` and `"4"` are the same user."""
    user = claims.get("id")
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
