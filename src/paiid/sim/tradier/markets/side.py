"""The market side as a whole: what its routes and its stream share, and what can be set about it."""

from dataclasses import dataclass, field

from paiid.sim.engine.faults import FaultBook
from paiid.sim.engine.market import SimMarket
from paiid.sim.tradier.exchange import TradierExchange
from paiid.sim.tradier.markets.days import Days
from paiid.sim.tradier.markets.greeks import HourlyGreeks
from paiid.sim.tradier.markets.looks import Looks, Quotes

__all__ = ["MarketOptions", "MarketSide", "Quotes"]


@dataclass(frozen=True, slots=True)
class MarketOptions:
    """The pace of market data, and where sources disagree.

    The market is looked at every `poll_s`; what was last told of a symbol that is quiet is told again every `resend_s`. A session must
    be used within `session_s`; a socket must say what it wants within `payload_s`. HTTP streaming ends after `idle_s` in
    which nothing came; blank lines come every `blank_s` where lines were asked for. A client for which `max_queue`
    messages wait is cut off. `renew_while_streaming`: another session may be made while one streams, as one client does;
    officially that is an error. The day's high, low and volume are `day_s` old at most.
    """

    poll_s: float = 0.02
    resend_s: float = 20.0
    session_s: float = 300.0
    payload_s: float = 60.0
    idle_s: float = 900.0
    blank_s: float = 15.0
    max_queue: int = 10_000
    renew_while_streaming: bool = False
    day_s: float = 15.0


@dataclass(slots=True)
class MarketSide:
    """One simulated market host. `options` may be replaced while it runs. `delayed` shows the quotes of 15 minutes ago, in a
    sandbox only; without it a sandbox shows those of now."""

    exchange: TradierExchange
    market: SimMarket
    faults: FaultBook
    options: MarketOptions = field(default_factory=MarketOptions)
    delayed: Quotes | None = None
    looks: Looks = field(init=False)
    days: Days = field(init=False)
    greeks: HourlyGreeks = field(init=False)

    def __post_init__(self) -> None:
        clock, hours = self.exchange.clock, self.exchange.hours
        late = self.delayed if self.exchange.options.sandbox else None
        self.looks = Looks(late or self.market, clock)
        self.days = Days(self.market, hours, clock, self.options.day_s)
        self.greeks = HourlyGreeks(self.market, hours, clock)

    @property
    def streams(self) -> bool:
        """Whether there is a stream: a sandbox has none (tradier.md, section 10)."""
        return not self.exchange.options.sandbox

    async def stop(self) -> None:
        """End what goes on in the background."""
        await self.days.stop()
