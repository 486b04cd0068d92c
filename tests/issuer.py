"""An OpenID Connect issuer over real sockets, with real keys, which tests may let rotate, fail, dawdle and lie."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, Self

import orjson
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from infra.local_servers import free_port

PrivateKey = RSAKey | ECKey

AUDIENCE = "app-manager"
ALGORITHMS = ["RS256", "ES256", "RS512", "PS256", "ES384"]


@cache
def rsa_key(kid: str | None = "rsa-1", bits: int = 2048) -> RSAKey:
    return RSAKey.generate_key(bits, {} if kid is None else {"kid": kid})


@cache
def ec_key(kid: str | None = "ec-1", curve: str = "P-256") -> ECKey:
    return ECKey.generate_key(curve, {} if kid is None else {"kid": kid})


def published(key: PrivateKey, **more: Any) -> dict[str, Any]:
    """A JWK of its public half."""
    return {**key.as_dict(private=False), **more}


@dataclass(slots=True)
class Issuer:
    """`keys`: private keys, or JWKs as they are. `said`: what its configuration says besides, or instead.

    `answers`: by path, a body, or a status and a body, instead of what it would answer; or where it sends the caller.
    `slow`: seconds before each answer. `gate`: nobody is answered before it is set.
    """

    port: int = field(default_factory=free_port)
    keys: Sequence[PrivateKey | dict[str, Any]] = ()
    said: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, bytes | tuple[int, bytes] | str] = field(default_factory=dict)
    slow: float = 0.0
    gate: asyncio.Event | None = None
    asked: list[str] = field(default_factory=list)  # paths
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def fetches(self) -> int:
        """How often its configuration was asked for."""
        return self.asked.count(CONFIGURATION)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def token(self, key: PrivateKey | None = None, *, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """Signed with a key, by default its first. A claim that is None is left out."""
        first = self.keys[0] if self.keys else None
        key = key or (first if isinstance(first, RSAKey | ECKey) else None)
        assert key is not None, "no private key to sign with"
        algorithm = "RS256" if isinstance(key, RSAKey) else "ES256"
        head = {"alg": algorithm, **({"kid": key.kid} if key.kid else {}), **(header or {})}
        return jwt.encode(head, self.claims(**claims), key, algorithms=ALGORITHMS)

    def claims(self, **claims: Any) -> dict[str, Any]:
        now = int(datetime.now(UTC).timestamp())
        said = {"iss": self.url, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 3600} | claims
        return {name: value for name, value in said.items() if value is not None}

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path
        self.asked.append(path)
        await asyncio.sleep(self.slow)
        if self.gate is not None:
            await self.gate.wait()
        match self.answers.get(path):
            case None:
                documents = {CONFIGURATION: self._configuration(), KEYS: self._key_set()}
                return web.json_response(documents[path]) if path in documents else web.Response(status=404)
            case bytes(body):
                return web.Response(body=body)
            case str(target):
                return web.Response(status=302, headers={"Location": target})
            case (status, body):
                return web.Response(status=status, body=body)

    def _configuration(self) -> dict[str, Any]:
        said = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": self.url + KEYS,
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        } | self.said
        return {name: value for name, value in said.items() if value is not None}

    def _key_set(self) -> dict[str, Any]:
        return {"keys": [key if isinstance(key, dict) else published(key) for key in self.keys]}


CONFIGURATION, KEYS = "/.well-known/openid-configuration", "/keys"


@asynccontextmanager
async def issuing(*keys: PrivateKey | dict[str, Any], **more: Any) -> AsyncIterator[Issuer]:
    """An issuer with these keys, by default one of each kind."""
    async with Issuer(keys=keys or (rsa_key(), ec_key()), **more) as issuer:
        yield issuer


def key_set(*keys: dict[str, Any]) -> bytes:
    return orjson.dumps({"keys": keys})
