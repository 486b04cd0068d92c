"""The published keys of an OpenID Connect issuer, kept fresh (OpenID Connect Discovery 1.0; contract config.md).

The issuer is the authority; what is held here is a copy, replaced as a whole by each answer. It is asked

- at once when the service opens, again and again until it has answered, and then every `refresh` seconds: so a key that
  it no longer publishes is good for that long at most;
- when a token names a key that is not there (`ask_again`), as after a rotation: one request at a time, and one in
  `pause` seconds at most, however many tokens name whatever keys.

While it cannot be asked, the copy goes on being used until it is `oldest` seconds old; then, and when there has never
been one, no token can be checked, which is told as IssuerUnavailable and not as a bad token. A process that starts
anew has no copy: that is how to stop trusting a key at once while the issuer is away.

An answer counts only if the document at `/.well-known/openid-configuration` names exactly this issuer, and both it and
the key set come from where they should, whole, in time and not too large. Redirects are not followed. Of the document
only what is used here is checked, with Authlib: issuers that serve machines only (a Kubernetes cluster's, a CI
system's) leave out endpoints that are required of those that people sign in at. Plain http leads to plain http only.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
from authlib.common.security import is_secure_transport
from authlib.oidc.discovery import OpenIDProviderMetadata
from yarl import URL

from domain.errors import IssuerUnavailable
from infra.signing_keys import KeySet, NotAKeySet, read_key_set

DOCUMENT_BYTES = 256 * 1024

logger = logging.getLogger(__name__)


class IssuerFailed(Exception):
    """The issuer's answer cannot be used. One line that says why."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. `fetch`: for both documents; `wait`: that a request waits for them; `retry`: the first pause after a
    failure, which doubles up to `longest_retry`."""

    refresh: float = 300.0
    pause: float = 10.0
    oldest: float = 24 * 3600.0
    fetch: float = 5.0
    wait: float = 2.0
    retry: float = 1.0
    longest_retry: float = 60.0


class IssuerKeys:
    """Opened before use: then it keeps itself fresh in the background. Opening does not wait for the issuer."""

    def __init__(self, issuer: str, pace: Pace = Pace()) -> None:
        self._issuer = issuer
        self._pace = pace
        self._keys: KeySet | None = None
        self._fresh_at = 0.0  # by the event loop's clock, as all times here
        self._failed = True  # the last attempt, or there was none
        self._may_ask_at = 0.0
        self._fetching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            auto_decompress=False,
        )
        self._running = asyncio.create_task(self._keep_fresh())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in (self._running, self._fetching):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        await self._session.close()

    @property
    def current(self) -> KeySet | None:
        """The keys that are good now: the same object for as long as they do not change."""
        too_old = asyncio.get_running_loop().time() - self._fresh_at > self._pace.oldest
        return None if too_old else self._keys

    async def ask_again(self) -> None:
        """Returns when `current` is what the issuer says now, or said a moment ago.

        Raises IssuerUnavailable if it could not be asked, or has not answered within `wait`.
        """
        now = asyncio.get_running_loop().time()
        if self._fetching is None and now >= self._may_ask_at:
            self._may_ask_at = now + self._pace.pause
            self._begin()
        if self._fetching is not None:
            done, _ = await asyncio.wait({self._fetching}, timeout=self._pace.wait)
            if not done:
                raise IssuerUnavailable
        if self._failed:
            raise IssuerUnavailable

    async def _keep_fresh(self) -> None:
        retry = self._pace.retry
        while True:
            await asyncio.wait({self._fetching or self._begin()})
            if self._failed:
                await asyncio.sleep(retry)
                retry = min(2 * retry, self._pace.longest_retry)
            else:
                await asyncio.sleep(self._pace.refresh)
                retry = self._pace.retry

    def _begin(self) -> asyncio.Task[None]:
        self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._pace.fetch):
                keys = await self._published()
        except Exception as error:  # whatever it is, the keys of before go on being used
            self._failed = True
            _tell_failure(error, self._pace.fetch)
        else:
            self._failed, self._fresh_at = False, began
            self._replace(keys)
        finally:
            self._fetching = None

    def _replace(self, keys: KeySet) -> None:
        if keys == self._keys:
            return
        self._keys = keys
        names = ", ".join(f"{key.kid or 'without a name'} ({key.algorithm})" for key in keys.keys)
        level = logging.INFO if keys.keys else logging.WARNING
        told = "the issuer's keys: %s; others, that cannot be used: %d"
        logger.log(level, told, names or "none", keys.left_out, extra={"event_type": "issuer_keys"})

    async def _published(self) -> KeySet:
        well_known = f"{self._issuer.removesuffix('/')}/.well-known/openid-configuration"
        jwks_uri = jwks_uri_of(await self._get(well_known), self._issuer)
        return await asyncio.to_thread(read_key_set, await self._get(jwks_uri))

    async def _get(self, url: str) -> bytes:
        async with self._session.get(URL(url, encoded=True), allow_redirects=False) as response:
            if response.status != 200:
                raise IssuerFailed(f"{url} answers {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > DOCUMENT_BYTES:
                    raise IssuerFailed(f"{url} is longer than {DOCUMENT_BYTES} bytes")
            return bytes(body)


def jwks_uri_of(document: bytes, issuer: str) -> str:
    """Where the issuer says that its keys are. Raises IssuerFailed."""
    try:
        said = orjson.loads(document)
    except orjson.JSONDecodeError:
        raise IssuerFailed("its configuration is not JSON") from None
    if not isinstance(said, dict) or said.get("issuer") != issuer:
        raise IssuerFailed("its configuration is not that of OIDC_ISSUER, to the letter")
    jwks_uri = said.get("jwks_uri")
    if not isinstance(jwks_uri, str):
        raise IssuerFailed("its configuration names no jwks_uri")
    _check(said, issuer)
    if issuer.startswith("https:") and not jwks_uri.startswith("https:"):
        raise IssuerFailed("its jwks_uri does not begin with https")
    return jwks_uri


def _check(said: dict[str, Any], issuer: str) -> None:
    """By Authlib's rules. They take plain http from this machine only; from where else, is said by the settings."""
    if not is_secure_transport(issuer):
        secure = {name: said[name].replace("http:", "https:", 1) for name in ("issuer", "jwks_uri")}
        said = said | secure
    metadata = OpenIDProviderMetadata(said)
    try:
        metadata.validate_issuer()
        metadata.validate_jwks_uri()
    except ValueError as error:
        raise IssuerFailed(f"its configuration: {error}") from None


def _tell_failure(error: Exception, seconds: float) -> None:
    if isinstance(error, TimeoutError):
        told = f"no answer within {seconds:g} s"
    elif isinstance(error, NotAKeySet):
        told = f"its key set cannot be used: {error}"
    else:
        told = str(error) or type(error).__name__
    logger.warning("the issuer's keys cannot be had", extra={"event_type": "issuer_unavailable", "error": told})
