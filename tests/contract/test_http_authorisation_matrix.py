"""Nobody gets in without a good token, and nobody to what is another's: every operation of the OpenAPI document.

It is driven by the document (contract http.md 1.1, 1.2, 9), so a new operation is in it by itself. One with a new kind
of id in its path or query fails until `MADE` says how to make such a thing.
"""

import hmac
import io
import re
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from zipfile import ZipFile

import orjson
import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from api.ids import IN_PATHS
from tests.api import ONE, SECRET, Answer, Api, User, a_story
from tests.builders import ApplicationStory
from tests.document import document, resolve
from tests.published import codes, table

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True)
class Call:
    """An operation of the document."""

    method: str
    path: str
    told: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def needs_a_token(self) -> bool:
        return bool(self.told["security"]) and {} not in self.told["security"]

    @property
    def ids(self) -> set[str]:
        """Names of the parameters that say whose thing is meant."""
        names = {resolve(one)["name"] for one in self.told["parameters"] if resolve(one)["in"] in {"path", "query"}}
        return {name for name in names if f"{{{name}}}" in self.path or name in IN_PATHS}

    @property
    def for_operators(self) -> bool:
        return "403" in self.told["responses"]

    async def ask(self, user: User, **ids: str) -> Answer:
        path = re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], self.path)
        query = {name: value for name, value in ids.items() if f"{{{name}}}" not in self.path}
        more = {"data": {"jobs": ONE, "items": f"[{ONE}]"}} if "requestBody" in self.told else {}
        return await user.ask(self.method, path, params=query, **more)


ALL = [
    Call(method.upper(), path, told)
    for path, methods in document()["paths"].items()
    for method, told in methods.items()
]  # fmt: skip
PROTECTED = [call for call in ALL if call.needs_a_token]
OWNED = [call for call in PROTECTED if call.ids]
OPERATORS = [call for call in PROTECTED if call.for_operators]
REST = [call for call in PROTECTED if call.method == "GET" and not call.ids and not call.for_operators]


def named(call: Call) -> str:
    return call.name


# -- a user's things, to be asked for by others -----------------------------------------------------------------------

Make = Callable[[Api, User], Awaitable[tuple[str, int]]]  # its id, and the position at which it can be read


def _application(tell: Callable[[ApplicationStory], ApplicationStory]) -> Make:
    async def make(api: Api, user: User) -> tuple[str, int]:
        story = tell(a_story(user).submitted())
        return story.id.hex, await api.happened(story)

    return make


async def _batch(_: Api, user: User) -> tuple[str, int]:
    made = await user.ask("POST", "/batch/applications", data={"items": f"[{ONE}, {ONE}]"})
    return made.json["batch_id"], made.position


pending = _application(lambda story: story)
applied = _application(lambda story: story.started().attempted().documented().applied().succeeded())
failed = _application(lambda story: story.started().attempted().documented().refused().failed())

# By parameter, unless an operation wants one of its own.
MADE: dict[str, Make] = {"application_id": pending, "app_id": applied, "batch_id": _batch}
OWN: dict[str, Make] = {"GET /fail_applied/{app_id}": failed, "POST /applications/{application_id}/retry": failed}


async def made_for(call: Call, api: Api, user: User) -> tuple[dict[str, str], int]:
    """The ids that the call needs, of things of that user."""
    ids, position = {}, 0
    for name in call.ids:
        make = OWN.get(call.name) or MADE.get(name)
        if make is None:
            pytest.fail(f"{call.name}: say in MADE how to make what {name} names", pytrace=False)
        ids[name], at = await make(api, user)
        position = max(position, at)
    return ids, position


# -- who is nobody ----------------------------------------------------------------------------------------------------


def _signed(key: OctKey | RSAKey, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode({"alg": algorithm}, {"id": "ada", **claims}, key, algorithms=[algorithm])


def _in(seconds: float) -> float:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).timestamp()


def _unsigned() -> str:
    _, claims, _ = _signed(OURS).split(".")
    return f"{_encoded({'alg': 'none', 'typ': 'JWT'})}.{claims}."


def _renamed(algorithm: str) -> str:
    """Signed with our secret, and said to be signed otherwise."""
    _, claims, signature = _signed(OURS).split(".")
    return f"{_encoded({'alg': algorithm})}.{claims}.{signature}"


def _by_public_key() -> str:
    """Signed as ours are, with what everybody may know as the secret."""
    said = f"{_encoded({'alg': 'HS256'})}.{_encoded({'id': 'ada'})}"
    return f"{said}.{_text(hmac.digest(THEIRS.as_pem(private=False), said.encode(), 'sha256'))}"


def _encoded(part: Mapping[str, str]) -> str:
    return _text(orjson.dumps(part))


def _text(part: bytes) -> str:
    return urlsafe_b64encode(part).rstrip(b"=").decode()


OURS, THEIRS = OctKey.import_key(SECRET), RSAKey.generate_key(2048)
BAD_TOKENS = {
    "no token": "",
    "garbage": "garbage",
    "no signature": _unsigned(),
    "another key": _signed(OctKey.import_key("another-secret-that-is-long-enough-too")),
    "a key pair": _signed(THEIRS, "RS256"),
    "a public key as secret": _by_public_key(),
    "another algorithm": _renamed("RS256"),
    "a longer hash": _signed(OURS, "HS512"),
    "expired": _signed(OURS, exp=_in(-1)),
    "not yet valid": _signed(OURS, nbf=_in(3600)),
    "no id": _signed(OURS, id=None),
    "an odd id": _signed(OURS, id=["ada"]),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def things(api: Api) -> dict[str, dict[str, str]]:
    """By operation: ids that exist, so that a refusal is for the token."""
    return {call.name: (await made_for(call, api, api.user("ada")))[0] for call in PROTECTED}


@pytest.mark.parametrize("call", PROTECTED, ids=named)
@pytest.mark.parametrize("token", BAD_TOKENS.values(), ids=BAD_TOKENS)
async def test_without_a_good_token_nothing_is_told(
    api: Api, things: dict[str, dict[str, str]], call: Call, token: str
) -> None:
    answer = await call.ask(User("ada", api.url, api.http, token), **things[call.name])
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.json["code"] in {"ERR_8001", "ERR_8002"}
    if call.method == "GET":
        path = re.sub(r"\{(\w+)\}", "x", call.path)
        assert (await User("ada", api.url, api.http, token).ask("HEAD", path)).status == 401


async def test_what_needs_no_token_is_what_is_published() -> None:
    assert {call.path for call in ALL if not call.needs_a_token} == PUBLIC & {call.path for call in ALL}
    assert len(PROTECTED) > 15


PUBLIC = {
    *("/", "/healthcheck", "/openapi.json", "/docs", "/console/"),
    "/ws/status",  # a token that is missing or bad is told by a close code
    *("/health", "/health/live", "/health/ready", "/metrics"),
}


# -- who is somebody else ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", OWNED, ids=named)
async def test_anothers_thing_looks_like_one_that_is_not_there(api: Api, call: Call) -> None:
    ada, bob = api.user(), api.user()
    mine, position = await made_for(call, api, ada)
    unknown = {name: uuid4().hex for name in mine}
    before = await api.event_store.log.head()
    foreign, missing = await call.ask(bob, **mine), await call.ask(bob, **unknown)
    assert foreign.status == 404
    assert shape(foreign, mine) == shape(missing, unknown)
    assert await api.event_store.log.head() == before, "nothing has happened to it"
    await ada.get("/applied", at_least=position)
    await ada.get("/fail_applied", at_least=position)
    assert (await call.ask(ada, **mine)).status == 200, "it was there, and is its user's"


def shape(answer: Answer, ids: Mapping[str, str]) -> tuple[int, dict[str, str], str]:
    """All that a caller sees, but what is of this one request: its id, its time, and the ids that he asked with."""
    own = {"X-Correlation-ID", "X-Request-ID", "Date"}
    body = answer.body.decode()
    for word in (*ids.values(), answer.headers["X-Correlation-ID"], answer.json["timestamp"]):
        body = body.replace(word, "-")
    headers = {name: value for name, value in answer.headers.items() if name not in own}
    headers.pop("Content-Length")  # a time may have fewer digits
    return answer.status, headers, body


@pytest.mark.parametrize("call", REST, ids=named)
async def test_what_is_not_asked_by_id_tells_nothing_of_others(api: Api, call: Call) -> None:
    ada, bob = api.user(), api.user()
    made = [await make(api, ada) for make in (pending, applied, failed, _batch)]
    position = max(position for _, position in made)
    answer = await bob.ask("GET", call.path, {"X-Event-Position": str(position)})
    assert answer.status in {200, 503}, "503: RabbitMQ is away here"
    told = content_of(answer)
    assert not [id for id in (ada.id, *(id for id, _ in made)) if id.encode() in told]


def content_of(answer: Answer) -> bytes:
    """What is in it, out of its packing."""
    if not answer.body.startswith(b"PK"):
        return answer.body
    with ZipFile(io.BytesIO(answer.body)) as file:
        return b"".join(map(file.read, file.namelist()))


# -- who is no operator -----------------------------------------------------------------------------------------------

NOT_OPERATORS: dict[str, dict[str, Any]] = {
    "a user": {},
    "a viewer": {"is_admin": True, "admin_role": "viewer"},
    "no role": {"is_admin": True},
    "only a role": {"admin_role": "admin"},
    "not quite true": {"is_admin": "true", "admin_role": "admin"},
    "several roles": {"is_admin": True, "admin_role": ["admin"]},
}


@pytest.mark.parametrize("call", OPERATORS, ids=named)
@pytest.mark.parametrize("claims", NOT_OPERATORS.values(), ids=NOT_OPERATORS)
async def test_operators_calls_are_theirs(api: Api, call: Call, claims: dict[str, Any]) -> None:
    (await call.ask(api.user(**claims))).refused(403, "ERR_8003", "InsufficientPermissionsError")
    let_in = await call.ask(api.user(is_admin=True, admin_role="operator"))
    assert let_in.status in {200, 503}, "503: RabbitMQ is away here"


async def test_the_published_calls_are_operators() -> None:
    told = {
        f"{row['Method and path'].split()[0]} {path}"
        for row in table("http.md", "0. Endpoint index")
        if "admin" in row["Auth"]
        for path in codes(row["Method and path"])
    }
    built = {call.name for call in ALL}
    assert {call.name for call in OPERATORS} == told & built
