"""On which terms an account trades: with or without margin, which options, which costs."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class AccountTerms:
    """`margin` False is a cash account. `options_level` as at Alpaca: 0 none, 1 covered calls and cash-secured puts,
    2 long options as well, 3 spreads as well. The rest matters at the built-in venue only.
    """

    starting_cash: Decimal = Decimal(100_000)
    margin: bool = True
    options_level: int = 3
    fees: bool = True
    """Regulatory fees are charged."""
    impact: bool = True
    """What goes beyond the quoted size moves the price."""
    price_improvement_pct: Decimal = Decimal(0)
    """Percent of the spread by which market orders fill better than the quote; at most 50."""


DEFAULT_TERMS = AccountTerms()
PLAIN = AccountTerms(margin=False, fees=False, impact=False)
"""A cash account without costs: the bare rules, for tests of something else."""
