"""Who we are at Alpaca and where it is: one pair of keys, and the only kinds of address that may ever see it."""

import ipaddress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

Mode = Literal["paper", "live"]

PAPER_API_URL = "https://paper-api.alpaca.markets"
PAPER_STREAM_URL = "wss://paper-api.alpaca.markets/stream"
LIVE_API_URL = "https://api.alpaca.markets"
LIVE_STREAM_URL = "wss://api.alpaca.markets/stream"

_SECURE = {"http": "https", "ws": "wss"}
_LONGEST_KEY = 256


@dataclass(frozen=True, slots=True)
class AlpacaKeys:
    """One pair of keys with the addresses of its environment. Raises ValueError for an address that may not see a
    secret, and for a key that cannot stand in a header."""

    mode: Mode
    key_id: str
    secret: str = field(repr=False)
    api_url: str
    stream_url: str

    def __post_init__(self) -> None:
        _check_key("key id", self.key_id)
        _check_key("secret", self.secret)
        loopback_allowed = self.mode == "paper"
        check_url(self.api_url, "http", loopback_allowed=loopback_allowed)
        check_url(self.stream_url, "ws", loopback_allowed=loopback_allowed)

    @property
    def on_loopback(self) -> bool:
        """Whether both addresses are this machine's own: a simulator's."""
        return is_loopback(self.api_url) and is_loopback(self.stream_url)

    @property
    def label(self) -> str:
        """Names the pair in logs without telling the key: paper, and its last four characters."""
        return f"{self.mode} …{self.key_id[-4:]}"


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
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback and (address.version == 4 or address == ipaddress.IPv6Address("::1"))


def _check_key(name: str, key: str) -> None:
    if not key or len(key) > _LONGEST_KEY or any(not "!" <= c <= "~" for c in key):
        # Never the key itself: this text ends up in a log.
        raise ValueError(
            f"the {name} of Alpaca must be 1 to {_LONGEST_KEY} printable characters without blanks"
        )
