"""The market data side as a whole: what its routes and its stream share, and what can be set about it."""

from dataclasses import dataclass, field

from paiid.sim.alpaca.exchange import Exchange
from paiid.sim.alpaca.marketdata.channels import FAMILIES
from paiid.sim.alpaca.marketdata.looks import Looks
from paiid.sim.alpaca.rate import RateLimit
from paiid.sim.engine.faults import FaultBook
from paiid.sim.engine.market import SimMarket

__all__ = ["FEEDS", "DataOptions", "DataSide"]

FEEDS = tuple(feed for family in FAMILIES.values() for feed in family.feeds)
"""All feeds of the stream."""
_UNLIMITED = ("sip", "test")


@dataclass(frozen=True, slots=True)
class DataOptions:
    """The plan, and the pace.

    `max_connections` sockets of an account on one feed. `max_symbols` of trades and quotes on one socket, `max_contracts` on the
    feeds of options; 0 for no limit; sip has none. `feeds`: those that the plan includes. A socket that is not authenticated
    within `auth_timeout_s` is closed, one for which `max_queue` messages wait is too slow. The market is looked at every
    `poll_s`; every `minute_s` the newest bar of a minute is told; `delay_s` lies between sip and delayed_sip.
    """

    max_connections: int = 1
    max_symbols: int = 30
    max_contracts: int = 200
    feeds: frozenset[str] = frozenset(FEEDS)
    auth_timeout_s: float = 10.0
    max_queue: int = 10_000
    poll_s: float = 0.02
    minute_s: float = 60.0
    delay_s: float = 900.0

    def most_symbols(self, feed: str) -> int:
        """Of trades and quotes on one socket of this feed; 0 for no limit."""
        if feed in _UNLIMITED:
            return 0
        return self.max_contracts if feed in FAMILIES["options"].feeds else self.max_symbols


@dataclass(slots=True)
class DataSide:
    """One simulated data host. `options` may be replaced while it runs."""

    exchange: Exchange
    market: SimMarket
    faults: FaultBook
    options: DataOptions = field(default_factory=DataOptions)
    looks: Looks = field(init=False)
    rate: RateLimit = field(init=False)

    def __post_init__(self) -> None:
        self.looks = Looks(self.market, self.exchange.clock)
        # A host of its own counts for itself.
        self.rate = RateLimit(self.exchange.clock, self.exchange.options.rate_limit_per_minute)
