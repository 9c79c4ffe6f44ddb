"""Whose request it is, as far as an address can tell: the socket's, unless a trusted proxy says more (A5)."""

import ipaddress
from collections.abc import Sequence

from starlette.types import Scope

MAX_HOPS = 16
"""Entries of a forwarding header that are looked at, from its end."""


class Peers:
    """Works out the client's address."""

    def __init__(self, proxies: Sequence[str]) -> None:
        self._proxies = [ipaddress.ip_network(proxy, strict=False) for proxy in proxies]

    def address(self, scope: Scope) -> str:
        """The peer's address; `X-Forwarded-For` counts only from a trusted proxy, from the right, and each hop
        only as far as the one that told it is trusted. Anything that is no address ends the walk."""
        peer = scope.get("client")
        address: str = peer[0] if peer else "unknown"
        if not self._proxies or not self._trusts(address):
            return address
        for hop in reversed(_hops(scope)):
            try:
                parsed = ipaddress.ip_address(hop)
            except ValueError:
                break
            address = str(parsed)
            if not self._trusts(address):
                break
        return address

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in self._proxies)


def _hops(scope: Scope) -> list[str]:
    """The last hops of all forwarding headers in the order they stand."""
    lines = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return [hop.strip() for hop in ",".join(lines).split(",")][-MAX_HOPS:]


def client_address(scope: Scope) -> str:
    """The address the edge worked out for this request."""
    found: str = scope.get("client_address") or "unknown"
    return found
