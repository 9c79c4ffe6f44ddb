"""Who we are at Alpaca's market data and where it is, and the only kinds of address that may ever see the keys."""

from dataclasses import dataclass, field

from paiid.wires.alpaca.keys import check_key, check_url

DATA_URL = "https://data.alpaca.markets"
STREAM_HOST_URL = "wss://stream.data.alpaca.markets"
TRADING_URL = "https://paper-api.alpaca.markets"
VENUES = ("iex", "sip", "delayed_sip")
"""iex: one exchange, free. sip: all of them, paid. delayed_sip: all of them, 15 minutes late."""


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
        check_key("key id", self.key)
        check_key("secret", self.secret)
        if self.venue not in VENUES:
            raise ValueError(f"the venue of Alpaca's market data is one of {', '.join(VENUES)}")
        check_url(self.data_url, "http")
        check_url(self.trading_url, "http")
        check_url(self.quotes_url, "ws")

    @property
    def quotes_url(self) -> str:
        """Where quotes and trades are streamed."""
        return self.stream_url or f"{STREAM_HOST_URL}/v2/{self.venue}"

    @property
    def label(self) -> str:
        """Names the pair in logs without telling the key."""
        return f"data …{self.key[-4:]}"
