"""What an issuer says of itself: where its keys are (OpenID Connect Discovery 1.0)."""

import json
from typing import Any

import pytest

from infra.issuer_keys import IssuerFailed, jwks_uri_of


def said(issuer: str, jwks_uri: Any) -> bytes:
    return json.dumps({"issuer": issuer, "jwks_uri": jwks_uri}).encode()


@pytest.mark.parametrize(
    ("issuer", "jwks_uri"),
    [
        ("https://issuer.example", "https://issuer.example/keys"),
        ("https://issuer.example/realms/a/", "https://keys.example:8443/a?b=c"),
        ("http://localhost:8080", "http://localhost:8080/keys"),
        ("http://127.0.0.1", "https://keys.example/keys"),
        ("http://[::1]:8080", "http://[::1]:8080/keys"),
        ("http://keycloak:8080/realms/a", "http://keycloak:8080/realms/a/keys"),  # in development
    ],
)
def test_its_keys_are_where_it_says(issuer: str, jwks_uri: str) -> None:
    assert jwks_uri_of(said(issuer, jwks_uri), issuer) == jwks_uri


@pytest.mark.parametrize(
    ("issuer", "jwks_uri"),
    [
        ("https://issuer.example", "http://issuer.example/keys"),
        ("https://issuer.example", "http://127.0.0.1/keys"),
        ("https://issuer.example", "file:///etc/passwd"),
        ("https://issuer.example", "keys"),
        ("https://issuer.example", ""),
        ("https://issuer.example", None),
        ("https://issuer.example?x=y", "https://issuer.example/keys"),
        ("http://keycloak:8080?x=y", "http://keycloak:8080/keys"),
        ("http://keycloak:8080", "ftp://keycloak:8080/keys"),
        ("http://127.0.0.1", "http://keys.example/keys"),
        ("http://127.0.0.1", "http://[::1/keys"),
    ],
)
def test_what_leads_elsewhere_is_refused(issuer: str, jwks_uri: str | None) -> None:
    with pytest.raises(IssuerFailed):
        jwks_uri_of(said(issuer, jwks_uri), issuer)


@pytest.mark.parametrize("document", [b"", b"[]", b"null", b"{", b"{}", b'{"issuer": "https://other.example"}'])
def test_a_document_of_another_issuer_is_refused(document: bytes) -> None:
    with pytest.raises(IssuerFailed):
        jwks_uri_of(document, "https://issuer.example")
