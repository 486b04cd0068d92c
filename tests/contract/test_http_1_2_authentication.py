"""Who calls (contract http.md 1.2)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from api.app import OPERATIONS
from api.operations import Operation
from tests.api import SECRET, Answer, Api, User

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALGORITHMS = ["HS256", "HS384", "HS512"]


async def with_header(api: Api, value: str) -> Answer:
    return await api.ask("GET", "/applied", headers={"Authorization": value})


async def with_claims(api: Api, algorithm: str = "HS256", key: str = SECRET, **claims: Any) -> Answer:
    token = jwt.encode({"alg": algorithm}, claims, OctKey.import_key(key), algorithms=ALGORITHMS)
    return await with_header(api, f"Bearer {token}")


def seconds_from_now(seconds: float) -> float:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).timestamp()


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if not one.public], ids=lambda one: one.endpoint)
async def test_what_is_not_public_needs_a_token(api: Api, operation: Operation) -> None:
    answer = await api.ask(operation.method, operation.endpoint.replace("{id}", "x"))
    answer.refused(401, "ERR_8001", "AuthenticationError")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "eyJhbGciOiJub25lIn0"])
async def test_a_malformed_header_is_no_authentication(api: Api, header: str) -> None:
    (await with_header(api, header)).refused(401, "ERR_8001", "AuthenticationError")


@pytest.mark.parametrize("token", ["x", "a.b.c", "eyJhbGciOiJub25lIn0.eyJpZCI6ImFkYSJ9.", "é.b.c", "." * 5000])
async def test_what_is_no_jwt_of_ours_is_an_invalid_token(api: Api, token: str) -> None:
    answer = await with_header(api, f"Bearer {token}")
    answer.refused(401, "ERR_8001", "InvalidTokenError")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_another_key_or_another_algorithm_is_refused(api: Api) -> None:
    (await with_claims(api, key="k" * 40, id="ada")).refused(401, "ERR_8001", "InvalidTokenError")
    (await with_claims(api, algorithm="HS512", id="ada")).refused(401, "ERR_8001", "InvalidTokenError")


@pytest.mark.parametrize("id", [None, "", True, 1.5, ["ada"], {"a": 1}])
async def test_a_token_without_a_usable_id_is_refused(api: Api, id: Any) -> None:
    (await with_claims(api, id=id)).refused(401, "ERR_8001", "InvalidTokenError")


async def test_an_expired_token_is_told_so_without_leeway(api: Api) -> None:
    (await with_claims(api, id="ada", exp=seconds_from_now(-1))).refused(401, "ERR_8002", "TokenExpiredError")
    assert (await with_claims(api, id="ada", exp=seconds_from_now(60))).status == 200


async def test_a_token_of_the_future_is_refused(api: Api) -> None:
    (await with_claims(api, id="ada", nbf=seconds_from_now(60))).refused(401, "ERR_8001", "InvalidTokenError")


async def test_a_token_needs_no_expiry_and_other_claims_do_not_matter(api: Api) -> None:
    assert (await with_claims(api, id="ada", aud="elsewhere", iss="somebody", sub="eve")).status == 200


async def test_a_number_and_its_text_are_the_same_user(api: Api) -> None:
    token = jwt.encode({"alg": "HS256"}, {"id": 4}, OctKey.import_key(SECRET))
    four = User("4", api.url, api.http, token)
    submitted = await four.submit()
    assert (await api.user("4").get(submitted.json["status_url"])).status == 200


async def test_the_scheme_is_written_in_any_case(api: Api, ada: User) -> None:
    assert (await with_header(api, f"bearer {ada.token}")).status == 200


async def test_the_token_is_checked_before_the_body_is_read(api: Api) -> None:
    head = b"POST /applications HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    read = await api.say(head + b"Content-Length: 1000\r\n\r\n", wait=lambda read: b"ERR_8001" in read)
    assert read.startswith(b"HTTP/1.1 401 ")


async def test_who_waits_to_send_a_body_is_not_asked_for_it_without_a_token(api: Api, ada: User) -> None:
    def request(token: bytes) -> bytes:
        return (
            b"POST /applications HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + b"\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n"
        )

    refused = await api.say(request(b"x"), wait=lambda read: b"\r\n\r\n" in read)
    assert refused.startswith(b"HTTP/1.1 401 ")
    welcome = await api.say(request(ada.token.encode()), wait=lambda read: b"\r\n\r\n" in read)
    assert welcome == b"HTTP/1.1 100 Continue\r\n\r\n"


async def test_a_wrong_token_does_not_hide_an_unknown_route(api: Api) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}):
        (await api.ask("GET", "/nowhere", headers=headers)).refused(404, "ERR_1002", "NotFoundError")


async def test_a_token_in_the_query_is_not_taken(api: Api, ada: User) -> None:
    (await api.ask("GET", f"/applied?token={ada.token}")).refused(401, "ERR_8001", "AuthenticationError")


async def test_a_users_token_stays_good_over_many_requests(ada: User, api: Api) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.get(f"{api.url}/applied", headers={"Authorization": f"Bearer {ada.token}"}) as response:
                assert response.status == 200
