"""Tokens of an OpenID Connect issuer: signed with one of its published keys, by it, for us (contract http.md 1.2).

What a good token says is kept, as for tokens of a shared secret, and with the key set that it was checked by: when the
keys change, all of it is forgotten, so no token outlives its key. A token whose key is not there is tried once more
after the issuer was asked; one that no key could make good is refused without asking.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache, partial
from typing import Any

from domain.errors import InvalidToken
from infra.issuer_keys import IssuerKeys
from infra.signing_keys import KeySet, SigningKey, header_of
from infra.tokens import CACHED_TOKENS, REFUSED, Claims, in_time, read_claims


class KeyMissing(InvalidToken):
    """No key that we know could have signed it, but one that we do not know could."""


class IssuerTokens:
    """`Tokens` of one issuer, for one audience. `user_claim` names the user of a token without an `id`."""

    def __init__(self, keys: IssuerKeys, *, issuer: str, audience: str, user_claim: str) -> None:
        self._keys = keys
        self._issuer, self._audience, self._user_claim = issuer, audience, user_claim
        self._use(None)

    async def verify(self, token: str, now: datetime) -> Claims:
        try:
            claims = self._look(token)
        except KeyMissing:
            await self._keys.ask_again()
            claims = self._look(token)
        return in_time(claims, now)

    @property
    def ready(self) -> bool:
        return self._keys.current is not None

    def _look(self, token: str) -> Claims:
        keys = self._keys.current
        if keys is not self._used:
            self._use(keys)
        return self._read(token)

    def _use(self, keys: KeySet | None) -> None:
        self._used = keys
        self._read = lru_cache(CACHED_TOKENS)(partial(self._read_token, keys))

    def _read_token(self, keys: KeySet | None, token: str) -> Claims:
        header = header_of(token)
        if header is None:
            raise InvalidToken(REFUSED)
        key = keys.find(header) if keys else None
        if key is None:
            raise KeyMissing(REFUSED)
        said = _signed_by(key, token, named="kid" in header)
        if said.get("iss") != self._issuer or not _is_for(said.get("aud"), self._audience):
            raise InvalidToken("The token is of another issuer or for another audience")
        return read_claims(said, "id" if "id" in said else self._user_claim)


def _signed_by(key: SigningKey, token: str, *, named: bool) -> Mapping[str, Any]:
    """A token that names no key may be signed by the next one, when this one fails."""
    try:
        return key.claims_of(token)
    except InvalidToken:
        if named:
            raise
        raise KeyMissing(REFUSED) from None


def _is_for(audience: object, wanted: str) -> bool:
    """One text, or a list of them (RFC 7519 4.1.3)."""
    return audience == wanted or (isinstance(audience, list) and wanted in audience)
