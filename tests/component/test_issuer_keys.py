"""The keys of an issuer, kept fresh: rotations, outages, and what an issuer may answer (contract http.md 1.2)."""

import asyncio
import logging
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domain.errors import IssuerUnavailable
from infra.issuer_keys import DOCUMENT_BYTES, IssuerKeys, Pace
from infra.signing_keys import KEYS_MAX
from tests.api import until
from tests.issuer import CONFIGURATION, KEYS, Issuer, ec_key, issuing, key_set, published, rsa_key
from tests.portal_servers import served

SELDOM = Pace(refresh=3600, pause=3600, oldest=3600, fetch=10, wait=10, retry=0.02, longest_retry=0.05)
QUICK = replace(SELDOM, refresh=0.05)
NEVER = replace(SELDOM, retry=3600, longest_retry=3600)


@asynccontextmanager
async def kept(issuer: Issuer, pace: Pace = SELDOM, url: str | None = None) -> AsyncIterator[IssuerKeys]:
    async with IssuerKeys(url or issuer.url, pace) as keys:
        yield keys


def names(keys: IssuerKeys) -> list[str | None] | None:
    return None if keys.current is None else [key.kid for key in keys.current.keys]


async def come_to(keys: IssuerKeys, *expected: str) -> None:
    async def there() -> bool:
        return names(keys) == list(expected)

    await until(there, f"the keys are {expected}")


async def test_they_are_there_soon_after_it_opens() -> None:
    async with issuing() as issuer, kept(issuer) as keys:
        await keys.ask_again()
        assert names(keys) == ["rsa-1", "ec-1"]


async def test_opening_does_not_wait_for_an_issuer_that_is_away_and_asks_until_it_is_back() -> None:
    issuer = Issuer(keys=[rsa_key()])
    async with kept(issuer) as keys:
        assert keys.current is None
        with pytest.raises(IssuerUnavailable):
            await keys.ask_again()
        async with issuer:
            await come_to(keys, "rsa-1")


async def test_they_are_asked_for_again_in_the_background() -> None:
    async with issuing(rsa_key()) as issuer, kept(issuer, QUICK) as keys:
        await come_to(keys, "rsa-1")
        issuer.keys = [ec_key()]
        await come_to(keys, "ec-1")


async def test_a_rotation_is_seen_when_somebody_asks() -> None:
    async with issuing(rsa_key()) as issuer, kept(issuer) as keys:
        await come_to(keys, "rsa-1")
        issuer.keys = [ec_key()]
        await keys.ask_again()
        assert names(keys) == ["ec-1"]


async def test_however_many_ask_the_issuer_is_asked_once_in_a_while() -> None:
    async with issuing() as issuer, kept(issuer) as keys:
        await come_to(keys, "rsa-1", "ec-1")
        for _ in range(5):
            await asyncio.gather(*(keys.ask_again() for _ in range(100)))
        assert issuer.fetches == 2


async def test_after_a_pause_the_issuer_is_asked_once_more() -> None:
    async with issuing() as issuer, kept(issuer, replace(SELDOM, pause=0.05)) as keys:
        await come_to(keys, "rsa-1", "ec-1")

        async def asked_once_more() -> bool:
            await keys.ask_again()
            return issuer.fetches == 3

        await until(asked_once_more, "after a pause it may be asked again")


async def test_who_comes_while_the_issuer_is_being_asked_waits_with_the_others() -> None:
    gate = asyncio.Event()
    async with issuing(gate=gate) as issuer, kept(issuer) as keys:

        async def asked() -> bool:
            return issuer.fetches == 1

        await until(asked, "the issuer is being asked")
        asking = [asyncio.create_task(keys.ask_again()) for _ in range(10)]
        await asyncio.sleep(0)  # they have asked
        gate.set()
        await asyncio.gather(*asking)
        assert (names(keys), issuer.fetches) == (["rsa-1", "ec-1"], 1)


async def test_the_same_keys_are_the_same_object() -> None:
    async with issuing() as issuer, kept(issuer, QUICK) as keys:
        await come_to(keys, "rsa-1", "ec-1")
        before = keys.current

        async def asked_thrice() -> bool:
            return issuer.fetches >= 3

        await until(asked_thrice, "it was asked again")
        assert keys.current is before


async def test_while_the_issuer_is_away_the_keys_of_before_are_used_and_who_asks_is_told() -> None:
    async with issuing() as issuer, kept(issuer) as keys:
        await come_to(keys, "rsa-1", "ec-1")
        await issuer.stop()
        with pytest.raises(IssuerUnavailable):
            await keys.ask_again()
        with pytest.raises(IssuerUnavailable):
            await keys.ask_again()  # nobody knows more than a moment ago
        assert names(keys) == ["rsa-1", "ec-1"]


async def test_keys_that_nobody_could_confirm_for_too_long_are_given_up_until_somebody_can() -> None:
    pace = replace(SELDOM, refresh=0.02, oldest=2)
    async with issuing() as issuer, kept(issuer, pace) as keys:
        await come_to(keys, "rsa-1", "ec-1")
        await issuer.stop()

        async def given_up() -> bool:
            return keys.current is None

        await until(given_up, "they are too old")
        await issuer.start()
        await come_to(keys, "rsa-1", "ec-1")


async def test_nobody_waits_long_for_a_slow_issuer_but_its_answer_counts() -> None:
    gate = asyncio.Event()
    async with issuing(gate=gate) as issuer, kept(issuer, replace(NEVER, fetch=60, wait=0.05)) as keys:
        with pytest.raises(IssuerUnavailable):
            await keys.ask_again()
        gate.set()
        await come_to(keys, "rsa-1", "ec-1")


async def test_an_issuer_that_does_not_answer_in_time_is_away() -> None:
    async with issuing(gate=asyncio.Event()) as issuer, kept(issuer, replace(NEVER, fetch=0.1, wait=60)) as keys:
        with pytest.raises(IssuerUnavailable):
            await keys.ask_again()
        assert keys.current is None


async def test_it_closes_while_it_asks() -> None:
    async with issuing(slow=5.0) as issuer, kept(issuer):

        async def asked() -> bool:
            return issuer.fetches == 1

        await until(asked, "the issuer is being asked")


# -- what an issuer may answer ----------------------------------------------------------------------------------------

LONG = b" " * (DOCUMENT_BYTES + 1)
GOOD = key_set(published(rsa_key()))
BAD_ANSWERS: dict[str, bytes | tuple[int, bytes]] = {
    "nothing": b"",
    "a page": b"<html></html>",
    "no keys": b'{"x": 1}',
    "no list": b'{"keys": {}}',
    "no objects": b'{"keys": [1]}',
    "deep": b'{"keys":' * 5000,
    "too long": GOOD + LONG,
    "too many keys": key_set(*[published(ec_key())] * (KEYS_MAX + 1)),
    "not found": (404, GOOD),
    "broken": (500, GOOD),
    "created": (201, GOOD),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS)
@pytest.mark.parametrize("path", [CONFIGURATION, KEYS])
async def test_an_answer_that_cannot_be_used_changes_nothing(path: str, answer: str) -> None:
    async with issuing() as issuer, kept(issuer) as keys:
        await come_to(keys, "rsa-1", "ec-1")
        issuer.answers[path] = BAD_ANSWERS[answer]
        with pytest.raises(IssuerUnavailable):
            await keys.ask_again()
        assert names(keys) == ["rsa-1", "ec-1"]


@pytest.mark.parametrize("path", [CONFIGURATION, KEYS])
async def test_redirects_are_not_followed(path: str) -> None:
    async with issuing() as issuer, issuing() as other:
        for target in (other.url, issuer.url):
            issuer.answers[path] = f"{target}{path}?again"
            async with kept(issuer, NEVER) as keys:
                with pytest.raises(IssuerUnavailable):
                    await keys.ask_again()
                assert (keys.current, other.asked) == (None, [])


async def test_an_answer_without_an_end_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
            await writer.drain()

    async with served(endless) as port, kept(Issuer(port=port), NEVER) as keys:
        with pytest.raises(IssuerUnavailable):
            await keys.ask_again()
    [told] = caplog.records
    assert "is longer than" in told.error  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "said",
    [
        {"issuer": None},
        {"issuer": "http://127.0.0.1:1"},
        {"issuer": 5},
        {"jwks_uri": None},
        {"jwks_uri": ["http://127.0.0.1/keys"]},
        {"jwks_uri": "/keys"},
        {"jwks_uri": "ftp://127.0.0.1/keys"},
        {"jwks_uri": "http://keys.example/keys"},
        {"jwks_uri": "http://[::1/keys"},
    ],
    ids=str,
)
async def test_a_configuration_that_is_not_that_of_the_issuer_is_refused(said: dict[str, Any]) -> None:
    async with issuing(said=said) as issuer, kept(issuer, NEVER) as keys:
        with pytest.raises(IssuerUnavailable):
            await keys.ask_again()
        assert issuer.asked == [CONFIGURATION]


async def test_the_issuer_is_compared_to_the_letter() -> None:
    async with issuing() as issuer, kept(issuer, NEVER, url=issuer.url + "/") as keys:
        with pytest.raises(IssuerUnavailable):
            await keys.ask_again()
        assert issuer.asked == [CONFIGURATION], "a slash at the end is not doubled"


async def test_an_issuer_may_end_with_a_slash_and_have_a_path() -> None:
    async with issuing() as issuer:
        url = f"{issuer.url}/realms/a%7Eb/"
        issuer.answers["/realms/a%7Eb/.well-known/openid-configuration"] = web_json(issuer, url)
        async with kept(issuer, NEVER, url=url) as keys:
            await keys.ask_again()
            assert names(keys) == ["rsa-1", "ec-1"]


def web_json(issuer: Issuer, url: str) -> bytes:
    return f'{{"issuer": "{url}", "jwks_uri": "{issuer.url}{KEYS}"}}'.encode()


async def test_an_issuer_for_machines_needs_no_page_to_sign_in_at_and_may_keep_its_keys_elsewhere() -> None:
    async with issuing() as elsewhere, issuing() as issuer:
        issuer.answers[CONFIGURATION] = web_json(elsewhere, issuer.url)
        async with kept(issuer, NEVER) as keys:
            await keys.ask_again()
            assert names(keys) == ["rsa-1", "ec-1"]


@pytest.fixture
def own_certificate(tmp_path: Path) -> ssl.SSLContext:
    """A server's side of TLS with a certificate that it made itself."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    return tls


async def test_a_certificate_that_nobody_vouches_for_is_not_believed(own_certificate: ssl.SSLContext) -> None:
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(100))

    async with served(listen, own_certificate) as port, IssuerKeys(f"https://127.0.0.1:{port}", NEVER) as keys:
        with pytest.raises(IssuerUnavailable):
            await keys.ask_again()
    assert heard == []


# -- what is told -----------------------------------------------------------------------------------------------------


async def test_operators_are_told_why_and_which_keys(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "infra.issuer_keys")
    async with issuing(rsa_key(), {"kty": "oct", "k": "AAAA"}) as issuer, kept(issuer) as keys:
        await come_to(keys, "rsa-1")
        issuer.answers[KEYS] = b"{}"
        with pytest.raises(IssuerUnavailable):
            await keys.ask_again()
    told = [(record.event_type, record.getMessage(), getattr(record, "error", None)) for record in caplog.records]  # type: ignore[attr-defined]
    assert told == [
        ("issuer_keys", "the issuer's keys: rsa-1 (RS256); others, that cannot be used: 1", None),
        ("issuer_unavailable", "the issuer's keys cannot be had", "its key set cannot be used: it has no list of keys"),
    ]


async def test_an_empty_set_takes_all_keys_away_and_is_told_loudly(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "infra.issuer_keys")
    async with issuing() as issuer, kept(issuer) as keys:
        await come_to(keys, "rsa-1", "ec-1")
        issuer.keys = []
        await keys.ask_again()
        assert names(keys) == []
    assert [record.getMessage() for record in caplog.records] == [
        "the issuer's keys: none; others, that cannot be used: 0"
    ]
