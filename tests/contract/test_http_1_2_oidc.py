"""Who calls, by tokens of an OpenID Connect issuer (contract http.md 1.2, config.md)."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from infra.settings import Settings
from tests.api import SECRET, Answer, Api, User, running_api, settings_for, token_of, until
from tests.issuer import AUDIENCE, KEYS, Issuer, ec_key, issuing, published, rsa_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

INVALID = (401, "ERR_8001", "InvalidTokenError")
UNCHECKED = (503, "ERR_1008", "OverloadedError")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as issuer:
        yield issuer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(issuer: Issuer, api_folder: Path, mongodb_uri: str, api_database: str) -> AsyncIterator[Api]:
    """An API of that issuer; its read models are not built."""
    settings = settings_of(issuer, f"sqlite:///{api_folder}/events.db", mongodb_uri, api_database)
    async with running_api(settings, projected=False) as api:
        yield api


ApiOf = Callable[..., AbstractAsyncContextManager[Api]]


@pytest.fixture
def api_of(sqlite_url: str, mongodb_uri: str, api_database: str) -> ApiOf:
    """An API of an issuer that is the test's own, with these settings besides."""

    def of(issuer: Issuer, **more: Any) -> AbstractAsyncContextManager[Api]:
        settings = settings_of(issuer, sqlite_url, mongodb_uri, api_database, **more)
        return running_api(settings, projected=False)

    return of


def settings_of(issuer: Issuer, event_store: str, mongodb: str, database: str, **more: Any) -> Settings:
    return settings_for(event_store, mongodb, database, oidc_issuer=issuer.url, oidc_audience=AUDIENCE, **more)


async def submit(api: Api, token: str) -> Answer:
    return await User("?", api.url, api.http, token).submit()


async def user_of(api: Api, token: str) -> str | None:
    """Whom the log names."""
    answer = await submit(api, token)
    assert answer.status == 200, answer.body
    [recorded] = await api.event_store.log.read_stream(UUID(answer.json["application_id"]))
    return recorded.owner.user_id


# -- good tokens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [rsa_key(), ec_key()], ids=["RS256", "ES256"])
async def test_a_token_of_the_issuer_is_accepted(api: Api, issuer: Issuer, key: Any) -> None:
    assert await user_of(api, issuer.token(key, sub="ada")) == "ada"


async def test_the_user_is_the_id_before_the_subject(api: Api, issuer: Issuer) -> None:
    assert await user_of(api, issuer.token(id="bob", sub="ada")) == "bob"
    assert await user_of(api, issuer.token(id=4)) == "4"


@pytest.mark.parametrize("claims", [{"sub": None}, {"sub": ""}, {"sub": True}, {"id": ""}, {"id": ["ada"]}], ids=str)
async def test_a_token_that_names_no_user_is_refused(api: Api, issuer: Issuer, claims: dict[str, Any]) -> None:
    (await submit(api, issuer.token(**claims))).refused(*INVALID)


async def test_another_claim_may_name_the_user(issuer: Issuer, api_of: ApiOf) -> None:
    async with api_of(issuer, oidc_user_claim="email") as api:
        assert await user_of(api, issuer.token(email="ada@example.org", sub="1")) == "ada@example.org"
        (await submit(api, issuer.token(sub="1"))).refused(*INVALID)


async def test_an_audience_is_a_text_or_one_of_a_list(api: Api, issuer: Issuer) -> None:
    for audience in (AUDIENCE, [AUDIENCE], ["other", 5, AUDIENCE]):
        assert (await submit(api, issuer.token(aud=audience))).status == 200


async def test_one_user_does_not_see_what_another_submitted(api: Api, issuer: Issuer) -> None:
    ada, bob = (User(name, api.url, api.http, issuer.token(sub=name)) for name in ("ada", "bob"))
    submitted = await ada.submit()
    assert (await ada.get(submitted.json["status_url"])).status == 200
    (await bob.get(submitted.json["status_url"])).refused(404, "ERR_2001", "ApplicationNotFoundError")


async def test_the_admin_claims_count_as_in_any_token(api: Api, issuer: Issuer) -> None:
    async def purge(**claims: Any) -> Answer:
        return await User("?", api.url, api.http, issuer.token(**claims)).ask("DELETE", "/queue/dlq")

    (await purge()).refused(403, "ERR_8003", "InsufficientPermissionsError")
    (await purge(is_admin=True)).refused(403, "ERR_8003", "InsufficientPermissionsError")
    (await purge(is_admin=True, admin_role="operator")).refused(503, "ERR_6002", "QueueConnectionError")  # let in


async def test_metrics_take_them_too_where_they_ask_for_a_token(issuer: Issuer, api_of: ApiOf) -> None:
    async with api_of(issuer, metrics_auth_required=True) as api:
        (await User("?", api.url, api.http, token_of("ada")).get("/metrics")).refused(*INVALID)
        assert (await User("?", api.url, api.http, issuer.token()).get("/metrics")).status == 200


# -- claims that do not fit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("audience", ["other", None, [], ["other"], f"{AUDIENCE} ", 5, {AUDIENCE: 1}, [[AUDIENCE]]])
async def test_a_token_for_somebody_else_is_refused(api: Api, issuer: Issuer, audience: Any) -> None:
    (await submit(api, issuer.token(aud=audience))).refused(*INVALID)


@pytest.mark.parametrize("end", ["/", "x", "?", None])
async def test_a_token_of_another_issuer_is_refused(api: Api, issuer: Issuer, end: str | None) -> None:
    said = None if end is None else issuer.url + end
    (await submit(api, issuer.token(iss=said))).refused(*INVALID)
    (await submit(api, issuer.token(iss=[issuer.url]))).refused(*INVALID)


async def test_its_time_counts_to_the_second(api: Api, issuer: Issuer) -> None:
    now = issuer.claims()["iat"]
    (await submit(api, issuer.token(exp=now - 1))).refused(401, "ERR_8002", "TokenExpiredError")
    (await submit(api, issuer.token(nbf=now + 60))).refused(*INVALID)
    (await submit(api, issuer.token(exp="soon"))).refused(*INVALID)
    assert (await submit(api, issuer.token(nbf=now - 1, exp=now + 60))).status == 200


async def test_a_token_that_was_good_expires(api: Api, issuer: Issuer) -> None:
    token = issuer.token(exp=issuer.claims()["iat"] + 1)

    async def expired() -> bool:
        return (await submit(api, token)).status == 401

    assert (await submit(api, token)).status == 200
    await until(expired, "its time has passed")
    (await submit(api, token)).refused(401, "ERR_8002", "TokenExpiredError")


# -- signatures that do not count -------------------------------------------------------------------------------------


async def test_the_shared_secret_counts_no_more(api: Api, issuer: Issuer) -> None:
    key = OctKey.import_key(SECRET)
    for kid in ({}, {"kid": "rsa-1"}):
        token = jwt.encode({"alg": "HS256", **kid}, issuer.claims(id="ada"), key)
        (await submit(api, token)).refused(*INVALID)


@pytest.mark.parametrize("name", ["rsa-1", "ec-1"])
async def test_a_public_key_is_no_secret(api: Api, issuer: Issuer, name: str) -> None:
    key = rsa_key() if name == "rsa-1" else ec_key()
    jwk = published(key)
    secrets = [key.as_pem(), key.as_pem().strip(), key.as_der(), json.dumps(jwk).encode()]
    secrets += [json.dumps(jwk, separators=(",", ":")).encode(), str(jwk.get("n", jwk.get("x"))).encode()]
    for secret in secrets:
        for header in ({"alg": "HS256", "kid": name}, {"alg": "HS256"}, {"alg": "HS512", "kid": name}):
            token = jwt.encode(header, issuer.claims(), OctKey(secret, secret), algorithms=["HS256", "HS512"])
            (await submit(api, token)).refused(*INVALID)


async def test_a_secret_among_the_published_keys_is_ignored(api_of: ApiOf) -> None:
    secret = {"kty": "oct", "kid": "s", "alg": "HS256", "k": "c2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2gtZm9yLWFueQ"}
    async with issuing(rsa_key(), secret) as issuer, api_of(issuer) as api:
        token = jwt.encode({"alg": "HS256", "kid": "s"}, issuer.claims(), OctKey.import_key(secret))  # type: ignore[arg-type]
        (await submit(api, token)).refused(*INVALID)
        assert (await submit(api, issuer.token())).status == 200


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "RS256", "ES256"])
async def test_no_signature_is_no_token(api: Api, issuer: Issuer, algorithm: str) -> None:
    for kid in ({}, {"kid": "rsa-1"}, {"kid": "ec-1"}):
        head, body = (base64url(part) for part in ({"alg": algorithm, **kid}, issuer.claims()))
        for signature in ("", "AAAA", "A" * 86):
            (await submit(api, f"{head}.{body}.{signature}")).refused(*INVALID)


def base64url(said: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["RS512", "PS256"])
async def test_another_algorithm_is_refused_even_with_the_right_key(api: Api, issuer: Issuer, algorithm: str) -> None:
    (await submit(api, issuer.token(header={"alg": algorithm}))).refused(*INVALID)


async def test_somebody_elses_key_under_a_known_name_is_refused(api: Api, issuer: Issuer) -> None:
    for key, name in ((rsa_key("mallory"), "rsa-1"), (ec_key("mallory"), "ec-1"), (ec_key("mallory"), "rsa-1")):
        (await submit(api, issuer.token(key, header={"kid": name}))).refused(*INVALID)


async def test_a_key_that_a_token_brings_along_is_not_looked_at(api: Api, issuer: Issuer) -> None:
    mallory = rsa_key("mallory")
    async with issuing(mallory) as elsewhere:
        header = {"kid": "rsa-1", "jwk": published(mallory), "jku": elsewhere.url + KEYS, "x5u": elsewhere.url}
        (await submit(api, issuer.token(mallory, header=header))).refused(*INVALID)
        (await submit(api, issuer.token(mallory, header=header | {"kid": "mallory"}))).refused(*INVALID)
        assert elsewhere.asked == []


@pytest.mark.parametrize("header", [{"kid": ""}, {"kid": "../rsa-1"}, {"kid": "RSA-1"}, {"kid": "ec-1"}], ids=str)
async def test_a_name_is_taken_to_the_letter(api: Api, issuer: Issuer, header: dict[str, Any]) -> None:
    (await submit(api, issuer.token(rsa_key(), header=header))).refused(*INVALID)


async def test_a_token_may_leave_the_name_out_where_only_one_key_is_meant(api_of: ApiOf) -> None:
    nameless = rsa_key(None)
    async with issuing(nameless, ec_key()) as issuer, api_of(issuer) as api:
        assert (await submit(api, issuer.token(nameless))).status == 200
        issuer.keys = [nameless, rsa_key()]
        assert (await submit(api, issuer.token(rsa_key()))).status == 200  # has asked again
        (await submit(api, issuer.token(nameless))).refused(*INVALID)


# -- keys that change -------------------------------------------------------------------------------------------------


async def test_after_a_rotation_the_new_key_counts_at_once_and_the_old_one_no_more(api_of: ApiOf) -> None:
    async with issuing(rsa_key()) as issuer, api_of(issuer) as api:
        old = issuer.token()
        assert (await submit(api, old)).status == 200
        issuer.keys = [rsa_key("rsa-2")]
        assert (await submit(api, old)).status == 200  # nobody knows yet
        assert (await submit(api, issuer.token())).status == 200
        (await submit(api, old)).refused(*INVALID)  # though it was seen to be good
        assert issuer.fetches == 2


async def test_a_key_without_a_name_is_replaced_as_well(api_of: ApiOf) -> None:
    async with issuing(rsa_key(None)) as issuer, api_of(issuer) as api:
        old = issuer.token()
        assert (await submit(api, old)).status == 200
        issuer.keys = [RSAKey.generate_key(2048)]
        assert (await submit(api, issuer.token())).status == 200
        (await submit(api, old)).refused(*INVALID)


async def test_a_flood_of_unknown_names_hardly_reaches_the_issuer(api_of: ApiOf) -> None:
    async with issuing(rsa_key()) as issuer, api_of(issuer) as api:
        good = issuer.token()
        assert (await submit(api, good)).status == 200
        bad = [issuer.token(header={"kid": f"k{number}"}) for number in range(200)]
        answers = await asyncio.gather(*(submit(api, token) for token in (*bad, good)))
        assert [answer.status for answer in answers] == [401] * len(bad) + [200]
        assert issuer.fetches == 2


# -- an issuer that fails ---------------------------------------------------------------------------------------------


async def ready(api: Api) -> int:
    return (await api.ask("GET", "/health/ready")).status


async def test_an_issuer_that_is_away_at_the_start_makes_no_token_bad(api_of: ApiOf) -> None:
    issuer = Issuer(keys=[rsa_key()])
    async with api_of(issuer) as api:
        answer = await submit(api, issuer.token())
        answer.refused(*UNCHECKED)
        assert answer.headers["Retry-After"] == "5"
        assert issuer.url.encode() not in answer.body
        (await submit(api, token_of("ada"))).refused(*INVALID)  # could never be good
        (await submit(api, "nonsense")).refused(*INVALID)
        (await api.ask("GET", "/applied")).refused(401, "ERR_8001", "AuthenticationError")
        assert (await api.ask("GET", "/health/live")).status == 200
        assert await api.event_store.log.head() == 0
        async with issuer:

            async def accepted() -> bool:
                return (await submit(api, issuer.token())).status == 200

            await until(accepted, "its keys are there")


async def closed_with(api: Api, token: str) -> int | None:
    async with api.http.ws_connect(f"{api.url}/ws/status", params={"token": token}) as socket:
        await socket.receive(timeout=5)
        code: int | None = socket.close_code
        return code


async def test_a_websocket_is_told_the_same(api_of: ApiOf) -> None:
    issuer = Issuer(keys=[rsa_key()])
    async with api_of(issuer) as api:
        assert await closed_with(api, issuer.token()) == 1011  # may be good, who knows
        assert await closed_with(api, token_of("ada")) == 4001


async def test_without_keys_the_process_is_not_ready(tmp_path: Path, mongodb_uri: str, mongo_database: str) -> None:
    issuer = Issuer(keys=[rsa_key()])
    built = settings_for(f"sqlite:///{tmp_path}/events.db", mongodb_uri, mongo_database)
    async with running_api(built):
        pass  # the read models
    settings = settings_of(issuer, built.event_store, mongodb_uri, mongo_database)
    async with running_api(settings, projected=False) as api:
        assert await ready(api) == 503
        async with issuer:

            async def is_ready() -> bool:
                return await ready(api) == 200

            await until(is_ready, "its keys are there")
        assert await ready(api) == 200


async def test_while_the_issuer_is_away_known_keys_go_on_counting(api_of: ApiOf) -> None:
    async with issuing(rsa_key()) as issuer, api_of(issuer) as api:
        assert (await submit(api, issuer.token())).status == 200
        await issuer.stop()
        assert (await submit(api, issuer.token(sub="bob"))).status == 200
        (await submit(api, issuer.token(rsa_key("rsa-2")))).refused(*UNCHECKED)  # may be good, who knows
        (await submit(api, issuer.token(rsa_key("mallory"), header={"kid": "rsa-1"}))).refused(*INVALID)


async def test_a_broken_key_set_changes_nothing(api_of: ApiOf) -> None:
    async with issuing(rsa_key()) as issuer, api_of(issuer) as api:
        assert (await submit(api, issuer.token())).status == 200
        issuer.answers[KEYS] = b"{" * 1_000_000
        (await submit(api, issuer.token(rsa_key("rsa-2")))).refused(*UNCHECKED)
        assert (await submit(api, issuer.token())).status == 200


async def test_a_slow_issuer_holds_up_only_those_who_need_it(api_of: ApiOf) -> None:
    async with issuing(rsa_key()) as issuer, api_of(issuer) as api:
        assert (await submit(api, issuer.token())).status == 200
        issuer.slow, issuer.keys = 0.3, [rsa_key(), rsa_key("rsa-2")]
        waits = asyncio.create_task(submit(api, issuer.token(rsa_key("rsa-2"))))

        async def asked() -> bool:
            return issuer.fetches == 2

        await until(asked, "the issuer is being asked")
        assert (await submit(api, issuer.token())).status == 200
        assert not waits.done()
        assert (await waits).status == 200


async def test_no_line_of_the_log_holds_a_token(api: Api, issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    good, bad = issuer.token(), issuer.token(header={"kid": "unknown"})
    await submit(api, good)
    await submit(api, bad)
    told = " ".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert not any(token.split(".")[2] in told for token in (good, bad))
