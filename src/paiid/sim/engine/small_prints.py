"""Which orders are to fill in small prints, and how small: decided by what a submission asks for, before it is handled."""

from decimal import Decimal

from paiid.sim.engine.market import SimMarket, Thin
from paiid.sim.engine.wire import AskedOrder

__all__ = ["SmallPrints"]


class SmallPrints:
    """Whatever cannot be read of a submission fills as it does."""

    def __init__(self, market: SimMarket) -> None:
        self._market = market

    def at_random(self, asked: AskedOrder) -> Thin | None:
        """The small size that this order meets first, if it is one of those."""
        size = None if asked.qty is None else self._market.draw_partial(asked.qty)
        return None if size is None else _thin(asked, size, 1)

    def in_many(self, asked: AskedOrder, prints: int) -> Thin | None:
        """The small sizes by which this order fills in so many prints; None where it has fewer shares than that."""
        size = None if asked.qty is None else asked.qty // prints
        return None if size is None or size < 1 else _thin(asked, size, prints - 1)


def _thin(asked: AskedOrder, size: Decimal, prints: int) -> Thin | None:
    """None where no symbol and side are named, as of spreads."""
    if asked.symbol is None or asked.side is None:
        return None
    return Thin(asked.symbol, asked.side, size, prints, asked.limit_price, asked.stop_price)
