"""The market as the simulated venue sees it: sizes without end, prices a test has pinned, and prints made small.

Alpaca's paper engine does not look at sizes and fills one order in ten in part at random. Our engine takes each
quote's size once, by the quote's number, so a small size under a new number makes a partial fill.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any, Protocol, runtime_checkable

from paiid.domain.bars import Bar, Timeframe
from paiid.domain.corporate import CorporateAction
from paiid.domain.instruments import Instrument
from paiid.domain.occ import OptionContract
from paiid.domain.orders import Side
from paiid.domain.quotes import Quote
from paiid.feeds.simulated.activity import Activity
from paiid.feeds.simulated.options import Model

__all__ = ["BaseMarket", "SimMarket", "Thin"]

DEEP = Decimal(1_000_000)
"""The size shown on both sides where sizes are not checked."""
_NUMBERS = 1 << 20
"""How many numbers of ours there are for each of the market's own."""
_CENT = Decimal("0.01")


class BaseMarket(Protocol):
    """Where the quotes come from: a feed, or a market in a test's hand."""

    def newest(self, symbol: str) -> Quote | None:
        """The newest quote in memory."""
        ...

    def instruments(self) -> Sequence[Instrument]:
        """Every share that can be traded."""
        ...

    async def fetch_instrument(self, symbol: str) -> Instrument | None: ...

    async def fetch_expirations(self, symbol: str) -> Sequence[date]: ...

    async def fetch_contracts(self, symbol: str, expiration: date) -> Sequence[OptionContract]: ...

    async def fetch_quotes(self, symbols: Sequence[str]) -> dict[str, Quote]: ...

    async def fetch_corporate_actions(
        self, symbols: Sequence[str], ex_date: date
    ) -> Sequence[CorporateAction]: ...

    async def fetch_bars(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int
    ) -> Sequence[Bar]: ...


@runtime_checkable
class _Deeper(Protocol):
    """A market that tells more of its options than quotes."""

    def activity(self, symbol: str) -> Activity | None: ...

    def model(self, symbol: str) -> Model | None: ...


@dataclass(slots=True)
class Thin:
    """One order's small prints: while the market would trade it, its side shows `size`, `prints` times."""

    symbol: str
    side: Side
    size: Decimal
    prints: int
    limit_price: Decimal | None
    stop_price: Decimal | None
    order_id: str | None = None

    def bites(self, quote: Quote) -> bool:
        """Whether this quote's price would trade the order (a stop that has not been met: no)."""
        price = quote.ask if self.side == "buy" else quote.bid
        if self.limit_price is not None:
            return price <= self.limit_price if self.side == "buy" else price >= self.limit_price
        if self.stop_price is not None:
            return price >= self.stop_price if self.side == "buy" else price <= self.stop_price
        return True


class SimMarket:
    """A wrapper over the market's quotes; everything else is passed on.

    `partial_rate` of the orders (0 to 1), drawn under `seed` in the order they come, fill in part first.
    """

    def __init__(
        self, base: BaseMarket, *, seed: int = 0, partial_rate: float = 0.1, check_sizes: bool = False
    ) -> None:
        self._base = base
        self._dice = random.Random(seed)  # noqa: S311 - a market, not a secret
        self._rate = partial_rate
        self._check_sizes = check_sizes
        self._pins: dict[str, tuple[Decimal, Decimal, Decimal, Decimal]] = {}
        self._flashes: dict[str, tuple[Decimal, Decimal]] = {}
        self._thin: dict[str, list[Thin]] = {}
        self._bumps: dict[str, int] = {}
        self._shown: dict[str, tuple[int, Any]] = {}

    # -- quotes -------------------------------------------------------------------------------------

    def newest(self, symbol: str) -> Quote | None:
        """The quote as orders meet it. Its number grows with the market's own and with each change made here."""
        base = self._base.newest(symbol)
        if base is None:
            return None
        quote = base if self._check_sizes else replace(base, bid_size=DEEP, ask_size=DEEP)
        pin = self._pins.get(symbol)
        if pin is not None:
            bid, ask, bid_size, ask_size = pin
            quote = replace(
                quote, bid=bid, ask=ask, bid_size=bid_size, ask_size=ask_size, last=(bid + ask) / 2
            )
        flash = self._flashes.get(symbol)
        if flash is not None:
            quote = replace(quote, bid=flash[0], ask=flash[1], bid_size=DEEP, ask_size=DEEP)
        thin = next((one for one in self._thin.get(symbol, ()) if one.bites(quote)), None)
        if thin is not None:
            buys = thin.side == "buy"
            quote = replace(quote, ask_size=thin.size) if buys else replace(quote, bid_size=thin.size)
        return replace(quote, sequence=base.sequence * _NUMBERS + self._number(symbol, base.sequence, quote))

    def _number(self, symbol: str, sequence: int, quote: Quote) -> int:
        """Grows within one of the market's numbers whenever what is shown changes, or somebody asked for it."""
        looks = (quote.bid, quote.ask, quote.bid_size, quote.ask_size)
        before = self._shown.get(symbol)
        if before is None or before[0] != sequence:
            self._bumps[symbol] = 0
        elif before[1] != looks:
            self._bump(symbol)
        self._shown[symbol] = (sequence, looks)
        return self._bumps[symbol]

    def _bump(self, symbol: str) -> None:
        self._bumps[symbol] = min(self._bumps.get(symbol, 0) + 1, _NUMBERS - 1)

    # -- pins and flashes ---------------------------------------------------------------------------

    def pin(
        self, symbol: str, bid: Decimal, ask: Decimal, bid_size: Decimal = DEEP, ask_size: Decimal = DEEP
    ) -> None:
        """Show this quote until `unpin`. Raises KeyError for a symbol without a quote."""
        if self._base.newest(symbol) is None:
            raise KeyError(symbol)
        self._pins[symbol] = (bid, ask, bid_size, ask_size)
        self._bump(symbol)

    def unpin(self, symbol: str) -> bool:
        """Let the market move again; False where nothing was pinned."""
        self._bump(symbol)
        return self._pins.pop(symbol, None) is not None

    @property
    def pins(self) -> dict[str, tuple[Decimal, Decimal, Decimal, Decimal]]:
        """Symbol to bid, ask and their sizes."""
        return dict(self._pins)

    def flash(self, symbol: str, side: Side, price: Decimal) -> None:
        """Come to this price with the side that an order on `side` trades against, until `calm`."""
        now = self.newest(symbol)
        if now is None:
            return
        if side == "buy":
            self._flashes[symbol] = (max(_CENT, min(now.bid, price - _CENT)), price)
        else:
            self._flashes[symbol] = (price, max(now.ask, price + _CENT))

    def calm(self, symbol: str) -> None:
        """End a flash."""
        self._flashes.pop(symbol, None)

    # -- small prints -------------------------------------------------------------------------------

    def draw_partial(self, qty: Decimal) -> Decimal | None:
        """Whether the next order is one of those that fill in part first: the size it is to meet, or None."""
        unlucky = self._dice.random() < self._rate
        share = Decimal(self._dice.randint(10, 90)) / 100
        if not unlucky or qty < 2:
            return None
        return max(Decimal(1), (qty * share).to_integral_value())

    def thin(self, thin: Thin) -> None:
        """Show small sizes to this order."""
        self._thin.setdefault(thin.symbol, []).append(thin)

    def bind(self, thin: Thin, order_id: str) -> None:
        """The order that these small sizes are for has been accepted under this id. A new number, in case that it has
        traded already."""
        thin.order_id = order_id
        self._bump(thin.symbol)

    def printed(self, order_id: str) -> None:
        """The order has traded: what is left meets a quote with a new number."""
        for thin in self._of(order_id):
            thin.prints -= 1
            self._bump(thin.symbol)
            if thin.prints <= 0:
                self.thick(thin)

    def over(self, order_id: str) -> None:
        """The order has ended: its sizes are as large as anybody's again."""
        for thin in self._of(order_id):
            self.thick(thin)

    def thick(self, thin: Thin) -> None:
        """Take small sizes back."""
        left = [one for one in self._thin.get(thin.symbol, ()) if one is not thin]
        if left:
            self._thin[thin.symbol] = left
        else:
            self._thin.pop(thin.symbol, None)

    def _of(self, order_id: str) -> list[Thin]:
        return [one for some in self._thin.values() for one in some if one.order_id == order_id]

    # -- passed on ----------------------------------------------------------------------------------

    def instruments(self) -> Sequence[Instrument]:
        """Every share that can be traded."""
        return self._base.instruments()

    def activity(self, symbol: str) -> Activity | None:
        """How much of a contract is traded and held; None where the market does not say."""
        return self._base.activity(symbol) if isinstance(self._base, _Deeper) else None

    def model(self, symbol: str) -> Model | None:
        """What the market's own quote of a contract is made from; None where it does not say, and of one whose quote is pinned."""
        if symbol in self._pins or not isinstance(self._base, _Deeper):
            return None
        return self._base.model(symbol)

    async def fetch_instrument(self, symbol: str) -> Instrument | None:
        return await self._base.fetch_instrument(symbol)

    async def fetch_expirations(self, symbol: str) -> Sequence[date]:
        return await self._base.fetch_expirations(symbol)

    async def fetch_contracts(self, symbol: str, expiration: date) -> Sequence[OptionContract]:
        return await self._base.fetch_contracts(symbol, expiration)

    async def fetch_quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        return {symbol: quote for symbol in symbols if (quote := self.newest(symbol)) is not None}

    async def fetch_bars(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int
    ) -> Sequence[Bar]:
        return await self._base.fetch_bars(symbol, timeframe, start_us, end_us, limit)

    async def fetch_corporate_actions(
        self, symbols: Sequence[str], ex_date: date
    ) -> Sequence[CorporateAction]:
        return await self._base.fetch_corporate_actions(symbols, ex_date)
