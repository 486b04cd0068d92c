"""Whose address counts, behind proxies (contract http.md 1.4)."""

from ipaddress import ip_network

import pytest

from api.client_address import UNKNOWN, ClientAddresses

PROXY, OTHER_PROXY, CLIENT = "10.0.0.1", "2001:db8:ffff::1", "192.0.2.7"
TRUSTED = (ip_network("10.0.0.0/8"), ip_network("2001:db8:ffff::/48"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        pytest.param(CLIENT, [], CLIENT, id="nobody between"),
        pytest.param(CLIENT, ["192.0.2.99"], CLIENT, id="who is no proxy is not believed"),
        pytest.param(PROXY, [CLIENT], CLIENT, id="one proxy"),
        pytest.param(PROXY, [f"192.0.2.99, {CLIENT}"], CLIENT, id="what the client said himself does not count"),
        pytest.param(PROXY, [f"192.0.2.99, {CLIENT}, {OTHER_PROXY}"], CLIENT, id="several proxies"),
        pytest.param(PROXY, ["192.0.2.99", CLIENT, OTHER_PROXY], CLIENT, id="several headers"),
        pytest.param(PROXY, [f"{CLIENT},10.9.9.9"], CLIENT, id="without spaces"),
        pytest.param(PROXY, ["10.7.7.7, 10.8.8.8"], "10.7.7.7", id="a client in a trusted network"),
        pytest.param(PROXY, [], PROXY, id="a proxy that says nothing"),
        pytest.param(PROXY, ["", " "], PROXY, id="empty headers"),
        pytest.param(PROXY, [f"{CLIENT}, ,10.9.9.9,", ""], CLIENT, id="empty places"),
        pytest.param(PROXY, ["unknown"], PROXY, id="no address"),
        pytest.param(PROXY, [f"{CLIENT}, unknown, 10.9.9.9"], "10.9.9.9", id="nothing before what is no address"),
        pytest.param(PROXY, [f"{CLIENT}:4711"], CLIENT, id="with a port"),
        pytest.param(PROXY, [f'"{CLIENT}"'], CLIENT, id="in quotes"),
        pytest.param("::ffff:10.0.0.1", [f"::ffff:{CLIENT}"], CLIENT, id="IPv4 in IPv6"),
        pytest.param(OTHER_PROXY, ["2001:DB8:0::7"], "2001:db8::7", id="IPv6"),
        pytest.param(OTHER_PROXY, ["[2001:db8::7]:4711"], "2001:db8::7", id="IPv6 with a port"),
        pytest.param(OTHER_PROXY, ["[2001:db8::7]"], "2001:db8::7", id="IPv6 in brackets"),
        pytest.param(PROXY, ["fe80::7%eth0"], "fe80::7", id="with a zone"),
        pytest.param("fe80::7%2", [], "fe80::7", id="a peer with a zone"),
        pytest.param(None, [CLIENT], UNKNOWN, id="a peer without an address"),
        pytest.param("", [], UNKNOWN, id="a local socket"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_trusted_proxy(
    peer: str | None, forwarded: list[str], client: str
) -> None:
    assert ClientAddresses(TRUSTED).of(peer, forwarded) == client


def test_without_trusted_proxies_the_peer_is_the_client() -> None:
    assert ClientAddresses(()).of(PROXY, [CLIENT]) == PROXY
