"""Who calls without a token: the address of the client, as far as it can be believed (contract http.md 1.4).

Each proxy appends the address that called it to `X-Forwarded-For`, so the header is read from its end, and only as far
as the one who wrote an entry is one of TRUSTED_PROXIES. The first address that is none of them is the client; what
stands before it, he may have written himself.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

FORWARDED_FOR = "X-Forwarded-For"
UNKNOWN = "unknown"  # a peer without an address

Address = IPv4Address | IPv6Address


class ClientAddresses:
    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self._trusted = trusted

    def of(self, peer: str | None, forwarded: Sequence[str]) -> str:
        """`peer` is who opened the connection; `forwarded` are the headers, in their order."""
        client = _address(peer or "")
        if client is None:
            return UNKNOWN
        entries = ",".join(forwarded).split(",") if self._trusts(client) else []
        for entry in filter(str.strip, reversed(entries)):
            before = _address(entry)
            if before is None or not self._trusts(client):
                break
            client = before
        return str(client)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _address(text: str) -> Address | None:
    """Also with a port, in brackets, with a zone; an IPv4 address in IPv6 clothes is that IPv4 address."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
