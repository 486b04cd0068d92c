"""Published keys: which may be used, and for what (contract http.md 1.2)."""

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey

from domain.errors import InvalidToken
from infra.signing_keys import KEYS_MAX, KeySet, NotAKeySet, header_of, read_key_set
from tests.issuer import PrivateKey, ec_key, key_set, published, rsa_key

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from(["keys", "kty", "n", "e", "use", "x"]), v),
)


def usable(*entries: dict[str, Any]) -> list[tuple[str | None, str]]:
    """Names and algorithms."""
    return [(key.kid, key.algorithm) for key in read_key_set(key_set(*entries)).keys]


def without(entry: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in entry.items() if other != name}


RSA, EC = published(rsa_key()), published(ec_key())


def test_the_algorithm_follows_from_the_kind_of_the_key() -> None:
    assert usable(RSA, EC) == [("rsa-1", "RS256"), ("ec-1", "ES256")]


@pytest.mark.parametrize("entry", [RSA, EC], ids=["RSA", "EC"])
@pytest.mark.parametrize(
    "said",
    [{"use": "enc"}, {"use": ["sig"]}, {"use": "x"}, {"key_ops": ["sign"]}, {"key_ops": []}, {"key_ops": "verify"}]
    + [{"alg": alg} for alg in ("HS256", "none", "RS512", "PS256", "ES384", "RSA-OAEP", "", 1)]
    + [{"kid": 5}, {"kty": "oct"}, {"kty": "OKP"}, {"kty": None}],
    ids=str,
)
def test_a_key_that_is_meant_for_something_else_is_left_out(entry: dict[str, Any], said: dict[str, Any]) -> None:
    found = read_key_set(key_set(entry | said, EC | {"kid": "good"}))
    assert ([key.kid for key in found.keys], found.left_out) == (["good"], 1)


@pytest.mark.parametrize("said", [{"use": "sig"}, {"key_ops": ["verify"]}, {"key_ops": ["sign", "verify"]}], ids=str)
def test_a_key_that_is_meant_for_signatures_is_used(said: dict[str, Any]) -> None:
    assert usable(RSA | said | {"alg": "RS256"}, EC | said | {"alg": "ES256"}) == [
        ("rsa-1", "RS256"),
        ("ec-1", "ES256"),
    ]


def test_what_a_key_says_of_itself_does_not_change_its_kind() -> None:
    assert usable(RSA | {"alg": "ES256"}, EC | {"alg": "RS256"}) == []


UNUSABLE: dict[str, dict[str, Any]] = {
    "a short RSA key": RSA | {"n": base64.urlsafe_b64encode(b"\xff" * 255).rstrip(b"=").decode()},
    "a long RSA key": RSA | {"n": base64.urlsafe_b64encode(b"\xff" * 1025).rstrip(b"=").decode()},
    "a modulus that is no base64": RSA | {"n": "not base64!"},
    "a modulus that is a number": RSA | {"n": 5},
    "an empty exponent": RSA | {"e": ""},
    "no exponent": without(RSA, "e"),
    "a point beside the curve": EC | {"y": EC["x"]},
    "an empty coordinate": EC | {"x": ""},
    "another curve": published(ec_key("p384", "P-384")),
    "a curve by name only": EC | {"crv": "P-384"},
    "a secret": {"kty": "oct", "k": "c2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2g"},
    "another kind": {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    "nothing": {},
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_key_that_cannot_be_used_does_not_spoil_the_others(what: str) -> None:
    assert usable(UNUSABLE[what], EC) == [("ec-1", "ES256")]


def test_of_a_private_key_only_the_public_half_is_kept() -> None:
    [key] = read_key_set(key_set(rsa_key().as_dict(private=True))).keys
    assert not key.key.is_private
    assert "d" not in key.key.dict_value


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"<html>", b"[]", b"5", b"null", b"{}", b"\xff\xfe", b"[" * 5000),
        *(b'{"keys": null}', b'{"keys": {}}', b'{"keys": ["x"]}', key_set(*[EC] * (KEYS_MAX + 1))),
    ],
    ids=lambda document: document[:20],
)
def test_what_is_no_key_set_is_refused_as_a_whole(document: bytes) -> None:
    with pytest.raises(NotAKeySet):
        read_key_set(document)


@given(JSON)
def test_whatever_json_it_is_nothing_else_happens(said: Any) -> None:
    for document in (said, {"keys": said}, {"keys": [said]}, {"keys": [RSA | {"n": said}, EC | {"x": said}]}):
        with suppress(NotAKeySet):
            assert isinstance(read_key_set(json.dumps(document).encode()), KeySet)


def test_the_same_keys_are_equal_and_others_are_not() -> None:
    assert read_key_set(key_set(RSA, EC)) == read_key_set(key_set(RSA | {"x5t": "abc"}, EC))
    assert read_key_set(key_set(RSA)) != read_key_set(key_set(published(rsa_key("rsa-2")) | {"kid": "rsa-1"}))


# -- which key a token names ------------------------------------------------------------------------------------------


def found(*entries: dict[str, Any], **header: Any) -> str | None:
    key = read_key_set(key_set(*entries)).find(header)
    return None if key is None else key.algorithm


def test_a_key_is_found_by_its_name_if_it_is_of_the_right_kind() -> None:
    assert found(RSA, EC, alg="ES256", kid="ec-1") == "ES256"
    assert found(RSA, EC, alg="RS256", kid="ec-1") is None
    assert found(RSA, EC, alg="RS256", kid="") is None
    assert found(without(RSA, "kid"), alg="RS256", kid="rsa-1") is None


def test_two_keys_of_one_name_are_told_apart_by_their_kind() -> None:
    both = [RSA | {"kid": "k"}, EC | {"kid": "k"}]
    assert [found(*both, alg=alg, kid="k") for alg in ("RS256", "ES256")] == ["RS256", "ES256"]


def test_without_a_name_the_only_key_of_the_kind_is_meant() -> None:
    assert found(RSA, EC, alg="RS256") == "RS256"
    assert found(RSA, RSA | {"kid": "rsa-2"}, alg="RS256") is None


# -- algorithms cannot be confused ------------------------------------------------------------------------------------


def secrets_of(key: PrivateKey) -> list[bytes]:
    """What is public, and might be taken for the secret of an HMAC."""
    jwk = published(key)
    return [key.as_pem(), key.as_der(), json.dumps(jwk).encode(), str(jwk.get("n", jwk.get("x"))).encode()]


@pytest.mark.parametrize("key", [rsa_key(), ec_key()], ids=["RSA", "EC"])
def test_a_public_key_is_no_secret_of_an_hmac(key: PrivateKey) -> None:
    [ours] = read_key_set(key_set(published(key))).keys
    for secret in secrets_of(key):
        oct_key = OctKey(secret, secret)
        for algorithm in ("HS256", "HS384", "HS512"):
            token = jwt.encode({"alg": algorithm, "kid": key.kid}, {"sub": "x"}, oct_key, algorithms=[algorithm])
            assert header_of(token) is None
            with pytest.raises(InvalidToken):
                ours.claims_of(token)


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256", "PS512"])
def test_another_algorithm_of_the_same_key_is_refused(algorithm: str) -> None:
    [ours] = read_key_set(key_set(RSA)).keys
    token = jwt.encode({"alg": algorithm}, {"sub": "x"}, rsa_key(), algorithms=[algorithm])
    assert header_of(token) is None
    with pytest.raises(InvalidToken):
        ours.claims_of(token)


def test_a_key_checks_what_it_signed_and_nothing_else() -> None:
    rsa, ec = read_key_set(key_set(RSA, EC)).keys
    by_rsa = jwt.encode({"alg": "RS256"}, {"sub": "x"}, rsa_key())
    by_ec = jwt.encode({"alg": "ES256"}, {"sub": "x"}, ec_key(), algorithms=["ES256"])
    assert rsa.claims_of(by_rsa) == ec.claims_of(by_ec) == {"sub": "x"}
    for key, token in ((rsa, by_ec), (ec, by_rsa)):
        with pytest.raises(InvalidToken):
            key.claims_of(token)


def text(header: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode() + ".e30.AAAA"


@pytest.mark.parametrize(
    "header",
    [
        *(["alg"], "alg", 5, None, {}, {"alg": ["RS256"]}, {"alg": {}}, {"alg": "none"}, {"alg": "rs256"}),
        *({"alg": "RS256", "kid": 5}, {"alg": "RS256", "kid": ["rsa-1"]}, {"alg": "RS256", "kid": None}),
    ],
    ids=str,
)
def test_a_header_that_no_key_can_have_signed_is_none(header: Any) -> None:
    assert header_of(text(header)) is None


@given(st.text(max_size=50))
def test_nonsense_has_no_header(nonsense: str) -> None:
    assert header_of(nonsense) is None
    assert header_of(f"{nonsense}.{nonsense}.{nonsense}") is None


def test_there_is_room_for_a_chain_of_certificates_in_a_header() -> None:
    assert header_of(text({"alg": "RS256", "kid": "k", "x5c": ["A" * 4000]}))
