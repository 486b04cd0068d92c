"""Whose request it is: what a token must be like (contract http.md 1.2)."""

import base64
import hashlib
import hmac
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.errors import SecurityWarning

from domain.errors import AuthenticationRequired, DomainError, InvalidToken, TokenExpired
from infra.tokens import CACHED_TOKENS, Claims, TokenVerifier, bearer_token, sign_token

KEY = "a-key-of-the-tests-that-is-long-enough-for-anything-at-all"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HASHES = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
SECONDS = int(NOW.timestamp())
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
)


def base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(payload: Any, *, header: Any = None, key: str = KEY, algorithm: str = "HS256") -> str:
    """Made without the library under test."""
    head = {"alg": algorithm} if header is None else header
    parts = b".".join(
        base64url(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (head, payload)
    )
    signature = hmac.new(key.encode(), parts, HASHES[algorithm]).digest()
    return (parts + b"." + base64url(signature)).decode()


def verify(text: str, now: datetime = NOW) -> Claims:
    return TokenVerifier(KEY, "HS256").verify(text, now)


@pytest.mark.parametrize("algorithm", HASHES)
def test_a_good_token_names_its_user(algorithm: str) -> None:
    claims = TokenVerifier(KEY, algorithm).verify(token({"id": "ada", "role": "x"}, algorithm=algorithm), NOW)
    assert (claims.user_id, claims.claims["role"], claims.expires_at) == ("ada", "x", None)


def test_a_number_and_its_text_are_the_same_user() -> None:
    assert verify(token({"id": 4})).user_id == verify(token({"id": "4"})).user_id == "4"


@pytest.mark.parametrize("user", ["", None, True, 1.5, ["a"], {"a": 1}, "\ud800"])
def test_any_other_id_is_no_user(user: Any) -> None:
    with pytest.raises(InvalidToken):
        verify(token({"id": user}))


def test_a_token_without_an_id_is_refused() -> None:
    with pytest.raises(InvalidToken):
        verify(token({"sub": "ada"}))


@pytest.mark.parametrize("user", [" ", "Zoë", "a/b", "0", "x" * 1000])
def test_any_text_may_name_a_user(user: str) -> None:
    assert verify(token({"id": user})).user_id == user


def test_another_key_is_refused() -> None:
    with pytest.raises(InvalidToken):
        verify(token({"id": 4}, key="another key"))


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_is_refused_even_with_the_right_key(algorithm: str) -> None:
    with pytest.raises(InvalidToken):
        verify(token({"id": 4}, algorithm=algorithm))


def test_a_header_that_lies_about_the_algorithm_is_refused() -> None:
    with pytest.raises(InvalidToken):
        verify(token({"id": 4}, header={"alg": "HS256"}, algorithm="HS384"))


@pytest.mark.parametrize("algorithm", ["none", "None", "", None, ["HS256"], "RS256"])
def test_no_algorithm_is_no_signature(algorithm: Any) -> None:
    unsigned = token({"id": 4}, header={"alg": algorithm})
    for text in (unsigned, unsigned.rpartition(".")[0] + "."):
        with pytest.raises(InvalidToken):
            verify(text)


def test_a_changed_payload_is_refused() -> None:
    head, _, signature = token({"id": 4}).split(".")
    with pytest.raises(InvalidToken):
        verify(".".join([head, base64url(b'{"id":5}').decode(), signature]))


def test_header_fields_that_nobody_knows_are_ignored_unless_they_are_critical() -> None:
    assert verify(token({"id": 4}, header={"alg": "HS256", "typ": "JWT", "kid": "k1", "x": 1})).user_id == "4"
    with pytest.raises(InvalidToken):
        verify(token({"id": 4}, header={"alg": "HS256", "crit": ["x"], "x": 1}))


@pytest.mark.parametrize("header", [["alg"], "alg", 1, {"alg": "HS256", "crit": 5}, {"alg": "HS256", "crit": [[]]}])
def test_a_header_of_an_odd_form_is_refused(header: Any) -> None:
    with pytest.raises(InvalidToken):
        verify(token({"id": 4}, header=header))


def test_it_expires_on_the_second_without_leeway() -> None:
    text = token({"id": 4, "exp": SECONDS})
    assert verify(text, NOW - timedelta(milliseconds=1)).expires_at == NOW
    with pytest.raises(TokenExpired):
        verify(text, NOW)


def test_it_is_not_taken_before_its_time() -> None:
    text = token({"id": 4, "nbf": SECONDS})
    with pytest.raises(InvalidToken):
        verify(text, NOW - timedelta(milliseconds=1))
    assert verify(text, NOW).user_id == "4"


@pytest.mark.parametrize("claim", ["exp", "nbf"])
@pytest.mark.parametrize("value", [b'"1"', b"true", b"NaN", b"[]"])
def test_a_time_is_a_number(claim: str, value: bytes) -> None:
    with pytest.raises(InvalidToken):
        verify(token(b'{"id":4,"%b":%b}' % (claim.encode(), value)))


@pytest.mark.parametrize("value", [b"1e300", b"Infinity", b"9" * 400])
def test_a_time_beyond_the_calendar_is_its_end(value: bytes) -> None:
    assert verify(token(b'{"id":4,"exp":%b}' % value)).expires_at == datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize("value", [b"-1", b"-1e300", b"-Infinity", b"0", b"1.5"])
def test_a_time_long_ago_has_passed(value: bytes) -> None:
    with pytest.raises(TokenExpired):
        verify(token(b'{"id":4,"exp":%b}' % value))


def test_a_token_seen_before_still_expires() -> None:
    verifier = TokenVerifier(KEY, "HS256")
    text = token({"id": 4, "exp": SECONDS + 60, "nbf": SECONDS})
    assert verifier.verify(text, NOW) is verifier.verify(text, NOW + timedelta(seconds=59))
    with pytest.raises(TokenExpired):
        verifier.verify(text, NOW + timedelta(seconds=60))
    with pytest.raises(InvalidToken):
        verifier.verify(text, NOW - timedelta(seconds=1))


def test_only_so_many_tokens_are_kept() -> None:
    verifier = TokenVerifier(KEY, "HS256")
    first = verifier.verify(token({"id": 0}), NOW)
    for number in range(1, CACHED_TOKENS + 1):
        verifier.verify(token({"id": number}), NOW)
    again = verifier.verify(token({"id": 0}), NOW)
    assert again == first
    assert again is not first


@given(st.text(max_size=50) | st.tuples(st.text(), st.text(), st.text()).map(".".join))
def test_nonsense_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(InvalidToken):
        verify(text)


@given(JSON)
def test_whatever_is_signed_is_a_user_or_refused(payload: Any) -> None:
    for said in (payload, {"id": payload, "exp": payload}, {"id": 4, "exp": payload}, {"id": 4, "nbf": payload}):
        with suppress(DomainError):
            assert verify(token(said)).user_id


@pytest.mark.parametrize("part", [b"[" * 400, b"{}" * 100, b"\xff", b"9" * 5000, b'{"a":' * 10_000])
def test_json_bombs_are_refused(part: bytes) -> None:
    for text in (token(part), token({"id": 4}, header=part)):
        with pytest.raises(InvalidToken):
            verify(text)


@pytest.mark.parametrize("header", ["Bearer abc", "bearer abc", "BEARER   abc "])
def test_the_header_holds_the_token(header: str) -> None:
    assert bearer_token(header) == "abc"


@pytest.mark.parametrize("header", [None, "", "abc", "Bearer", "Bearer ", "Basic abc", "Bearerabc"])
def test_any_other_header_is_no_authentication(header: str | None) -> None:
    with pytest.raises(AuthenticationRequired):
        bearer_token(header)


@pytest.mark.parametrize("algorithm", HASHES)
def test_a_token_of_our_own_is_accepted_for_its_life(algorithm: str) -> None:
    text = sign_token(
        "ada",
        key=KEY,
        algorithm=algorithm,
        issued_at=NOW,
        life=timedelta(minutes=30),
        claims={"is_admin": True, "admin_role": "admin"},
    )
    claims = TokenVerifier(KEY, algorithm).verify(text, NOW)
    assert (claims.user_id, claims.expires_at) == ("ada", NOW + timedelta(minutes=30))
    assert claims.claims["is_admin"] is True
    head, payload, signature = text.split(".")
    digest = hmac.new(KEY.encode(), f"{head}.{payload}".encode(), getattr(hashlib, HASHES[algorithm])).digest()
    assert base64url(digest).decode() == signature


def test_a_short_key_works_with_a_warning() -> None:
    with pytest.warns(SecurityWarning, match="112 bits"):
        text = sign_token("ada", key="k", algorithm="HS512", issued_at=NOW, life=timedelta(minutes=1))
    with pytest.warns(SecurityWarning, match="112 bits"):
        assert TokenVerifier("k", "HS512").verify(text, NOW).user_id == "ada"
