"""The only kinds of address that may ever see a pair of keys, and what can stand as a key in a header (alpaca.md, section 1)."""

import ipaddress
from typing import Literal
from urllib.parse import urlsplit

__all__ = ["check_key", "check_url", "is_loopback"]

_SECURE = {"http": "https", "ws": "wss"}
_LONGEST_KEY = 256


def check_key(name: str, key: str) -> None:
    """Raises ValueError unless it can stand in a header. Never with the key itself: the text ends up in a log."""
    if not key or len(key) > _LONGEST_KEY or any(not "!" <= c <= "~" for c in key):
        raise ValueError(
            f"the {name} of Alpaca must be 1 to {_LONGEST_KEY} printable characters without blanks"
        )


def check_url(url: str, scheme: Literal["http", "ws"], *, loopback_allowed: bool = True) -> str:
    """The address without a slash at its end. Raises ValueError unless it is https (wss), or http (ws) on loopback
    where that is allowed."""
    secure = _SECURE[scheme]
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(
            "an address at Alpaca could not be read: its host or port is no such thing"
        ) from None
    if not host or any(not "!" <= c <= "~" for c in url):
        raise ValueError(f"an address at Alpaca must be {secure}://host[:port][/path]")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(
            "an address at Alpaca has no user, query or fragment: the keys have settings of their own"
        )
    if parts.scheme == secure:
        return url.rstrip("/")
    if parts.scheme != scheme:
        raise ValueError(f"an address at Alpaca must be {secure}, not {parts.scheme or 'without a scheme'}")
    if not loopback_allowed:
        raise ValueError(f"live keys are sent over {secure} only, never over plain {scheme}")
    if not is_loopback(url):
        raise ValueError(f"plain {scheme} is for this machine's own addresses only; use {secure} for {host}")
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether the host is localhost, in 127.0.0.0/8, or ::1; a name that merely leads there is not."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
