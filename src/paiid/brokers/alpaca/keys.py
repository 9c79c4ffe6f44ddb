"""Who we are at Alpaca and where it is: one pair of keys, and the only kinds of address that may ever see it."""

from dataclasses import dataclass, field
from typing import Literal

from paiid.wires.alpaca.keys import check_key, check_url, is_loopback

Mode = Literal["paper", "live"]

PAPER_API_URL = "https://paper-api.alpaca.markets"
PAPER_STREAM_URL = "wss://paper-api.alpaca.markets/stream"
LIVE_API_URL = "https://api.alpaca.markets"
LIVE_STREAM_URL = "wss://api.alpaca.markets/stream"


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
        check_key("key id", self.key_id)
        check_key("secret", self.secret)
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
