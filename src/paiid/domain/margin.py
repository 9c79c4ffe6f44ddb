"""Buying power of a cash account that may sell short: one formula for the venue and for our own checks.

    buying power = cash - opening buys - 1.5 x short value - 0.5 x opening sells

* `cash` holds the proceeds of short sales, so a short of value V needs 1.5 V: the proceeds (1.0 V) and
  half as much again (Regulation T's initial requirement for short sales, 12 CFR 220.12(c)).
* An open buy reserves its remaining quantity at its reserve price, but only for the part that opens;
  the part that covers a short reserves nothing. An open sell reserves only for the part that would open
  a short: at execution it brings its proceeds and needs 1.5 times its value, so 0.5 of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from paiid.domain.money import ZERO

SHORT_REQUIREMENT = Decimal("1.5")
OPENING_SHORT_RESERVE = Decimal("0.5")


@dataclass(frozen=True, slots=True)
class Exposure:
    """One symbol in an account: signed position, what open orders still may buy and sell, and its mark.

    Quantities in shares, `open_buy_value` and `open_sell_value` in dollars (remaining quantity x reserve
    price, summed), `mark` in dollars a share. `mark` matters only where the position is short.
    """

    symbol: str
    qty: Decimal
    open_buy_qty: Decimal
    open_buy_value: Decimal
    open_sell_qty: Decimal
    open_sell_value: Decimal
    mark: Decimal | None

    @property
    def needs_mark(self) -> bool:
        """A short position is valued at today's price; without one nothing can be said."""
        return self.qty < 0


def requirement(exposure: Exposure) -> Decimal:
    """Dollars of cash that this symbol ties up. Raises ValueError for a short without a mark."""
    held = ZERO
    if exposure.qty < 0:
        if exposure.mark is None:
            raise ValueError(f"no price for the short position in {exposure.symbol}")
        held += -exposure.qty * exposure.mark * SHORT_REQUIREMENT
    if exposure.open_buy_qty > 0:
        held += _opening(exposure.open_buy_value, exposure.open_buy_qty, -exposure.qty)
    if exposure.open_sell_qty > 0:
        held += (
            _opening(exposure.open_sell_value, exposure.open_sell_qty, exposure.qty) * OPENING_SHORT_RESERVE
        )
    return held


def _opening(value: Decimal, qty: Decimal, against: Decimal) -> Decimal:
    """Dollars of the part that opens, where `against` shares of the other side are held; all of it for none."""
    if against <= 0:
        return value
    return value * max(ZERO, qty - against) / qty


def buying_power(cash: Decimal, exposures: Iterable[Exposure]) -> Decimal:
    """Dollars available for new orders; may be negative. Raises ValueError for a short without a mark."""
    return cash - sum((requirement(e) for e in exposures), ZERO)
