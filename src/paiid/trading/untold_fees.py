"""Fees that a broker takes and does not tell: how much of a lack of cash they can explain (ADR 0028).

A bound, not a tariff: a few times what US brokers, exchanges and regulators charge for an order in 2026, so that a lack of
cash within it is taken for fees, and one beyond it for what it is: a difference that a person has to look at.
"""

from collections.abc import Iterable
from decimal import Decimal

from paiid.domain.instruments import is_option
from paiid.domain.money import CENT, ZERO

__all__ = ["FEES_WORDS", "most_fees"]

FEES_WORDS = "fees that the broker took and has not told"
_PER_SHARE = Decimal("0.005")
_OF_VALUE = Decimal("0.0002")
"""The SEC's fee on sales was below a third of this."""
_PER_CONTRACT = Decimal(2)


def most_fees(prints: Iterable[tuple[str, Decimal, Decimal]]) -> Decimal:
    """Dollars at most for prints of (symbol, shares or contracts, price)."""
    total = ZERO
    for symbol, qty, price in prints:
        if is_option(symbol):
            total += CENT + abs(qty) * _PER_CONTRACT
        else:
            total += CENT + abs(qty) * (_PER_SHARE + price * _OF_VALUE)
    return total
