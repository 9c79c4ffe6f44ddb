"""Which orders are to fill in small prints, and how small: decided by what a submission asks for, before it is handled."""

from decimal import Decimal, InvalidOperation
from typing import Any

from paiid.sim.alpaca.ids import AssetIds
from paiid.sim.alpaca.market import SimMarket, Thin

__all__ = ["SmallPrints"]


class SmallPrints:
    """Reads the bodies of submissions, which may be anything; what cannot be read fills as it does."""

    def __init__(self, market: SimMarket, asset_ids: AssetIds) -> None:
        self._market = market
        self._asset_ids = asset_ids

    def symbol_of(self, body: Any) -> str | None:
        """The ticker or contract that a body names, by its symbol or its asset id; None for none."""
        named = body.get("symbol") if isinstance(body, dict) else None
        if not isinstance(named, str):
            return None
        return self._asset_ids.symbol_of(named) or named.upper()

    def at_random(self, body: Any) -> Thin | None:
        """The small size that this order meets first, if it is one of those."""
        qty = _number(body, "qty")
        size = None if qty is None else self._market.draw_partial(qty)
        return None if size is None else self._thin(body, size, 1)

    def in_many(self, body: Any, prints: int) -> Thin | None:
        """The small sizes by which this order fills in so many prints; None where it has fewer shares than that."""
        qty = _number(body, "qty")
        size = None if qty is None else qty // prints
        return None if size is None or size < 1 else self._thin(body, size, prints - 1)

    def _thin(self, body: Any, size: Decimal, prints: int) -> Thin | None:
        """None where the body names no symbol and side, as spreads."""
        symbol, side = self.symbol_of(body), body.get("side")
        if symbol is None or side not in ("buy", "sell"):
            return None
        return Thin(symbol, side, size, prints, _number(body, "limit_price"), _number(body, "stop_price"))


def _number(body: Any, name: str) -> Decimal | None:
    """A positive number of a body that says it as a text or a number; None for anything else."""
    value = body.get(name) if isinstance(body, dict) else None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and number > 0 else None
