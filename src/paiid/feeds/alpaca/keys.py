"""Who we are at Alpaca's market data and where it is, and the only kinds of address that may ever see the keys."""

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

DATA_URL = "https://data.alpaca.markets"
STREAM_HOST_URL = "wss://stream.data.alpaca.markets"
TRADING_URL = "https://paper-api.alpaca.markets"
VENUES = ("iex", "sip", "delayed_sip")
"""iex: one exchange, free. sip: all of them, paid. delayed_sip: all of them, 15 minutes late."""

_PLAIN = {"https": "http", "wss": "ws"}
_LONGEST_KEY = 256


@dataclass(frozen=True, slots=True)
class AlpacaDataKeys:
    """One pair of keys with its addresses. `stream_url` None: Alpaca's own stream of the venue. `trading_url` is where assets and
    option contracts are listed: of the environment that the keys belong to. Raises ValueError for an address that may not see
    a secret, a key that cannot stand in a header, and an unknown venue."""

    key: str = field(repr=False)
    secret: str = field(repr=False)
    data_url: str = DATA_URL
    stream_url: str | None = None
    trading_url: str = TRADING_URL
    venue: str = "iex"

    def __post_init__(self) -> None:
        _check_key("key id", self.key)
        _check_key("secret", self.secret)
        if self.venue not in VENUES:
            raise ValueError(f"the venue of Alpaca's market data is one of {', '.join(VENUES)}")
        for url, scheme in ((self.data_url, "https"), (self.trading_url, "https"), (self.quotes_url, "wss")):
            _check_url(url, scheme)

    @property
    def quotes_url(self) -> str:
        """Where quotes and trades are streamed."""
        return self.stream_url or f"{STREAM_HOST_URL}/v2/{self.venue}"

    @property
    def label(self) -> str:
        """Names the pair in logs without telling the key."""
        return f"data …{self.key[-4:]}"


def _check_key(name: str, key: str) -> None:
    if not key or len(key) > _LONGEST_KEY or any(not "!" <= c <= "~" for c in key):
        # Never the key itself: this text ends up in a log.
        raise ValueError(
            f"the {name} of Alpaca must be 1 to {_LONGEST_KEY} printable characters without blanks"
        )


def _check_url(url: str, secure: str) -> None:
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
    if parts.scheme == secure or (parts.scheme == _PLAIN[secure] and _is_loopback(host)):
        return
    raise ValueError(f"an address at Alpaca must be {secure}; plain {_PLAIN[secure]} is for loopback only")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
