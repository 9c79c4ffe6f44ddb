"""Who we are at Tradier and where it is: one token, which belongs to one environment (tradier.md, section 1)."""

import ipaddress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

__all__ = ["LIVE_HOST", "SANDBOX_HOST", "Environment", "TradierKeys", "environment_of", "stream_url_of"]

LIVE_API_URL = "https://api.tradier.com/v1"
LIVE_STREAM_URL = "wss://ws.tradier.com/v1"
SANDBOX_API_URL = "https://sandbox.tradier.com/v1"
SANDBOX_STREAM_URL = "wss://sandbox-ws.tradier.com/v1"
LIVE_HOST = "api.tradier.com"
SANDBOX_HOST = "sandbox.tradier.com"
_SECURE = {"http": "https", "ws": "wss"}
_LONGEST_TOKEN = 256
_LONG_TOKEN = 16
"""Of which the last four characters may be shown."""

Environment = Literal["live", "sandbox", "simulated"]
"""`simulated`: on loopback."""


@dataclass(frozen=True, slots=True)
class TradierKeys:
    """The token with the addresses of its environment, both ending in the version. `account_id` None: the token's only
    account. Raises ValueError for an address that may not see the token, and for a token that cannot stand in a header."""

    token: str = field(repr=False)
    api_url: str = LIVE_API_URL
    stream_url: str = LIVE_STREAM_URL
    account_id: str | None = None

    def __post_init__(self) -> None:
        if not self.token or len(self.token) > _LONGEST_TOKEN or any(not "!" <= c <= "~" for c in self.token):
            # Never the token itself: this text ends up in a log.
            raise ValueError("the token of Tradier must be 1 to 256 printable characters without blanks")
        _check_url(self.api_url, "http")
        _check_url(self.stream_url, "ws")

    @property
    def environment(self) -> Environment:
        """Which one the token belongs to."""
        return environment_of(self.api_url)

    @property
    def label(self) -> str:
        """Names the token in logs without telling it."""
        return f"{self.environment} …{self.token[-4:] if len(self.token) >= _LONG_TOKEN else ''}"


def environment_of(api_url: str) -> Environment:
    """By the host: loopback is a simulator, the sandbox's host the sandbox; everything else counts as live."""
    host = (urlsplit(api_url).hostname or "").lower()
    if is_loopback(host):
        return "simulated"
    return "sandbox" if host == SANDBOX_HOST else "live"


def stream_url_of(api_url: str) -> str:
    """Where the streams of an environment are, if nothing else is said: a simulator has them on its own port."""
    environment = environment_of(api_url)
    if environment == "simulated":
        return "ws" + api_url.removeprefix("http")
    return SANDBOX_STREAM_URL if environment == "sandbox" else LIVE_STREAM_URL


def is_loopback(host: str) -> bool:
    """Whether the host is localhost or a loopback address; a name that merely leads there is not."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_url(url: str, scheme: Literal["http", "ws"]) -> None:
    secure = _SECURE[scheme]
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(
            "an address at Tradier could not be read: its host or port is no such thing"
        ) from None
    if not host or any(not "!" <= c <= "~" for c in url):
        raise ValueError(f"an address at Tradier must be {secure}://host[:port][/path]")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(
            "an address at Tradier has no user, query or fragment: the token has a setting of its own"
        )
    if parts.scheme != secure and not (parts.scheme == scheme and is_loopback(host.lower())):
        raise ValueError(f"an address at Tradier must be {secure}, or {scheme} on this machine")
